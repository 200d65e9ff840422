//! What a request says of its trace: `traceparent`, B3 and `tracestate` are what a plain reader finds, and whatever they
//! hold, what goes on says one trace, in every form that came.

use http::{HeaderMap, HeaderName, HeaderValue};
use weir::telemetry::Recorder;
use weir::telemetry::families::SpanMeter;
use weir::telemetry::trace::{B3, Decision, Incoming, Rate, SpanContext, Tracer, span_queue, state_list};

use super::input::Input;

const NAMES: [&str; 8] = [
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
];

/// The first byte says what is read.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(4) {
        0 => w3c(input.rest()),
        1 => b3(input.rest()),
        2 => state(input.rest()),
        _ => whole(input),
    }
}

/// So many digits, not all of them zeros.
fn is_id(text: &str, digits: usize) -> bool {
    let is_hex = text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    text.len() == digits && is_hex && text.chars().any(|c| c != '0')
}

fn w3c(bytes: &[u8]) {
    // What stands behind a newer form need not be text.
    let text = String::from_utf8_lossy(bytes);
    let plain = Some(&*text).and_then(|text| {
        let parts: Vec<&str> = text.splitn(5, '-').collect();
        let [version, trace, span, flags] = *parts.get(..4)? else { return None };
        let byte = |text: &str| (text.len() == 2).then(|| u8::from_str_radix(text, 16).ok()).flatten();
        let is_lower = |text: &str| text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
        let fits = is_lower(version) && is_lower(flags) && is_id(trace, 32) && is_id(span, 16);
        let (version, flags) = (byte(version)?, byte(flags)?);
        (fits && version < 255 && (version > 0 || parts.len() == 4))
            .then(|| format!("00-{trace}-{span}-{:02x}", flags & if version == 0 { 3 } else { 1 }))
    });
    let read = SpanContext::parse(bytes);
    let text = read.map(|context| String::from_utf8(context.to_text().to_vec()).expect("digits"));
    assert_eq!(text, plain);
    if let Some(context) = read {
        assert_eq!(SpanContext::parse(&context.to_text()), Some(context));
    }
}

fn b3(bytes: &[u8]) {
    let state = |text: &str| match text {
        "0" => Some(Decision::Deny),
        "1" => Some(Decision::Accept),
        "d" => Some(Decision::Debug),
        _ => None,
    };
    let plain = str::from_utf8(bytes).ok().and_then(|text| {
        let parts: Vec<&str> = text.split('-').collect();
        let (ids, decision) = match *parts {
            [alone] => return Some((None, state(alone)?)),
            [trace, span] => ((trace, span), Decision::Deferred),
            [trace, span, said] => ((trace, span), state(said)?),
            [trace, span, said, parent] if is_id(parent, 16) => ((trace, span), state(said)?),
            _ => return None,
        };
        let (trace, span) = ids;
        let trace = if trace.len() == 16 { format!("{:0>32}", trace) } else { trace.to_owned() };
        (is_id(&trace, 32) && is_id(span, 16)).then(|| (Some(format!("{trace} {span}")), decision))
    });
    let read = B3::parse(bytes);
    let text = read.map(|b3| (b3.ids.map(|(trace, span)| format!("{trace} {span}")), b3.decision));
    assert_eq!(text, plain);
}

fn state(bytes: &[u8]) {
    let fields: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    let list = state_list(fields.iter().copied());
    assert_eq!(state_list([list.as_bytes()]), list, "a list is one");
    if list.is_empty() {
        return;
    }
    let keys: Vec<&str> = list.split(',').map(|member| member.split('=').next().expect("a key")).collect();
    let mut known = keys.clone();
    known.sort_unstable();
    known.dedup();
    assert!(known.len() == keys.len() && keys.len() <= 32, "{list}");
    // Each member stands in a field as it is.
    for member in list.split(',') {
        assert!(fields.iter().any(|field| field.windows(member.len()).any(|part| part == member.as_bytes())));
    }
}

fn whole(mut input: Input<'_>) {
    let percent = input.below(101) as u32;
    let mut headers = HeaderMap::new();
    for line in input.rest().split(|&byte| byte == b'\n') {
        let Some((name, value)) = line.split_first() else { continue };
        let name = NAMES[usize::from(*name) % NAMES.len()];
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    let (before, incoming) = (headers.clone(), Incoming::of(&headers));
    let (queue, _source) = span_queue(SpanMeter::new(&Recorder::new(1)));
    let tracer = Tracer { rate: Rate::new(percent, 100), queue };
    let mut draw = 0;
    let trace = tracer.begin(&mut headers, || {
        draw += 0x0123_4567_89ab_cdef;
        draw
    });
    let said = Incoming::of(&headers);
    let span = said.parent.expect("a request goes on in a trace");
    assert!(said.is_w3c && said.sampled == Some(trace.is_some()));
    if let Some(sampled) = incoming.sampled {
        assert_eq!(sampled, trace.is_some(), "who has decided is followed");
    }
    if let Some(parent) = incoming.parent {
        assert_eq!(parent.trace, span.trace);
    }
    let states = |headers: &HeaderMap| headers.get_all("tracestate").iter().cloned().collect::<Vec<_>>();
    assert_eq!(states(&headers), if incoming.is_w3c { states(&before) } else { Vec::new() });
    match trace {
        None if incoming.is_w3c => assert_eq!(headers, before, "nothing is touched"),
        None => {}
        Some(trace) => {
            assert_eq!((trace.span, trace.parent), (span, incoming.parent.map(|parent| parent.span)));
            // The other forms say the same.
            headers.remove("traceparent");
            if before.keys().any(|name| name.as_str().contains("b3") && name != "x-b3-parentspanid") {
                let of_b3 = Incoming::of(&headers);
                let ids = of_b3.parent.map(|said| (said.trace, said.span));
                assert_eq!((ids, of_b3.sampled), (Some((span.trace, span.span)), Some(true)), "{headers:?}");
            }
        }
    }
}
