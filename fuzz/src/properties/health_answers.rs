//! What endpoints answer to health checks of models and of gRPC: one that a plain reader of protobuf does not take is not
//! taken, and of what is written by the book the answer is known before it is read.

use weir::upstream::guard::health::{json_says_available, message_of, says_available, says_serving};

use super::input::Input;

/// The first byte says what kind of answer it is.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(4) {
        0 => protobuf(input.rest()),
        1 => json(input.rest()),
        2 => written_protobuf(&mut input),
        _ => written_json(&mut input),
    }
}

/// Any bytes as a body, and as a message in a frame that fits it.
fn protobuf(bytes: &[u8]) {
    let plain = match *bytes {
        [0, a, b, c, d, ref message @ ..] => {
            let length = u64::from(u32::from_be_bytes([a, b, c, d]));
            (length == message.len() as u64).then_some(message)
        }
        _ => None,
    };
    assert_eq!(message_of(bytes), plain);
    let framed = [&[0][..], &(bytes.len() as u32).to_be_bytes(), bytes].concat();
    assert_eq!(message_of(&framed), Some(bytes));
    let cut = framed.len() - 1;
    assert_eq!(message_of(&framed[..cut]), None, "it was cut");

    assert_eq!(says_serving(bytes), read(bytes).is_some_and(|fields| last(&fields, 1) == 1));
    let statuses = read(bytes).and_then(|fields| {
        let statuses = fields.iter().filter(|(number, _)| *number == 1);
        let statuses = statuses.filter_map(|(_, value)| value.as_ref().err().map(|bytes| read(bytes)));
        statuses.collect::<Option<Vec<_>>>()
    });
    let versions: Vec<u64> = statuses
        .into_iter()
        .flatten()
        .filter(|status| last(status, 2) == 30)
        .map(|status| last(&status, 1))
        .collect();
    assert_eq!(says_available(bytes, None), !versions.is_empty());
    for version in [0, 1, 2, u64::MAX].iter().chain(&versions) {
        assert_eq!(says_available(bytes, Some(*version)), versions.contains(version), "version {version}");
    }
}

/// A field's number, and its value: an integer, or else bytes.
type Fields = Vec<(u128, Result<u64, Vec<u8>>)>;

/// All of a message, by the encoding's own page, in wider numbers than it needs. Groups are of the time before these messages.
fn read(message: &[u8]) -> Option<Fields> {
    let (mut fields, mut at) = (Vec::new(), 0);
    while at < message.len() {
        let tag = integer(message, &mut at)?;
        let number = tag / 8;
        if number == 0 || number >= 1 << 29 {
            return None;
        }
        let length = match tag % 8 {
            0 => {
                // What does not fit is lost at the top.
                let value = integer(message, &mut at)? % (1 << 64);
                fields.push((number, Ok(u64::try_from(value).expect("64 bits"))));
                continue;
            }
            1 => 8,
            2 => integer(message, &mut at)? % (1 << 64),
            5 => 4,
            _ => return None,
        };
        let end = usize::try_from(at as u128 + length).ok().filter(|end| *end <= message.len())?;
        if tag % 8 == 2 {
            fields.push((number, Err(message[at..end].to_vec())));
        }
        at = end;
    }
    Some(fields)
}

fn integer(message: &[u8], at: &mut usize) -> Option<u128> {
    let end = message.iter().skip(*at).take(10).position(|byte| byte & 0x80 == 0)? + *at;
    let bytes = &message[*at..=end];
    *at = end + 1;
    Some(bytes.iter().rev().fold(0, |number, byte| number * 128 + u128::from(byte & 0x7f)))
}

fn last(fields: &Fields, wanted: u128) -> u64 {
    let mut value = 0;
    for (number, found) in fields {
        if let (true, Ok(found)) = (*number == wanted, found) {
            value = *found;
        }
    }
    value
}

/// Versions of a model and their states.
fn statuses(input: &mut Input<'_>) -> Vec<(u64, u64)> {
    (0..input.below(5)).map(|_| (input.below(4) as u64, input.pick(&[30, 0, 10, 20, 40, 50]))).collect()
}

/// Whether one of these says so.
fn available(statuses: &[(u64, u64)], version: Option<u64>) -> bool {
    statuses.iter().any(|&(known, state)| state == 30 && version.is_none_or(|version| version == known))
}

fn written_protobuf(input: &mut Input<'_>) {
    let statuses = statuses(input);
    let mut message = Vec::new();
    for (version, state) in &statuses {
        // In either order, with fields between that nobody asks for.
        let mut fields = vec![vec![8, *version as u8], vec![16, *state as u8], vec![0x1a, 2, 8, 5]];
        fields.push(vec![0x21, 1, 2, 3, 4, 5, 6, 7, 8]);
        fields.rotate_left(input.below(4));
        let status = fields.concat();
        message.extend([0x0a, status.len() as u8]);
        message.extend(status);
    }
    for version in [None, Some(0), Some(1), Some(2), Some(3)] {
        assert_eq!(
            says_available(&message, version),
            available(&statuses, version),
            "{statuses:?} {version:?}"
        );
    }
    protobuf(&message);
}

/// Any bytes: of no version more is said than of all, and of what was cut nothing.
fn json(bytes: &[u8]) {
    let any = json_says_available(bytes, None);
    for version in [0, 1, 2, u64::MAX] {
        assert!(any || !json_says_available(bytes, Some(version)), "of one, and not of all");
    }
    let whole = bytes.trim_ascii_end();
    if any {
        for end in 0..whole.len() {
            assert!(!json_says_available(&whole[..end], None), "it was cut at {end}");
        }
        assert!(!json_says_available(&[whole, b"}"].concat(), None), "there is more");
    }
}

fn written_json(input: &mut Input<'_>) {
    const STATES: [&str; 6] = ["UNKNOWN", "START", "LOADING", "AVAILABLE", "UNLOADING", "END"];
    let statuses = statuses(input);
    let written: Vec<String> = statuses
        .iter()
        .map(|(version, state)| {
            let state = STATES[(*state / 10) as usize];
            let mut fields = [
                format!("\"version\": \"{version}\""),
                format!("\"state\":\t\"{state}\""),
                "\"status\": {\"error_code\": \"OK\", \"state\": \"AVAILABLE\", \"error_message\": \"\"}"
                    .into(),
            ];
            fields.rotate_left(input.below(3));
            format!("{{{}}}", fields.join(",\n"))
        })
        .collect();
    let body = format!("{{\"other\": [], \"model_version_status\": [{}]}}\r\n", written.join(", "));
    for version in [None, Some(0), Some(1), Some(2), Some(3)] {
        let found = json_says_available(body.as_bytes(), version);
        assert_eq!(found, available(&statuses, version), "{body} {version:?}");
    }
    json(body.as_bytes());
}
