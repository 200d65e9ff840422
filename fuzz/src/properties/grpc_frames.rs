//! The counter of gRPC messages, against a model that has the whole stream before it: however the stream is cut, the
//! counts after each piece are those of the bytes so far.

use weir::message::grpc::MessageCounter;

use super::input::Input;

/// Cuts and the stream alternate with the first bytes of `data`.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let cuts: Vec<usize> = (0..input.below(8)).map(|_| input.below(40)).collect();
    let stream = stream(&mut input);
    let mut counter = MessageCounter::default();
    let (mut seen, mut turn) = (0, 0);
    while seen < stream.len() {
        // Empty pieces are pieces, too; without a single other cut the rest comes at once.
        let wanted = cuts.get(turn % cuts.len().max(1)).copied().unwrap_or(usize::MAX);
        let wanted = if turn >= 4 * cuts.len() && wanted == 0 { usize::MAX } else { wanted };
        let piece = wanted.min(stream.len() - seen);
        counter.feed(&stream[seen..seen + piece]);
        seen += piece;
        turn += 1;
        assert_eq!(counter.messages(), messages(&stream[..seen]), "after {seen} of {} bytes", stream.len());
    }
}

/// Whole messages of small lengths, then whatever is left: a stream of random prefixes would seldom hold two.
fn stream(input: &mut Input<'_>) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..input.below(6) {
        let flags = input.byte();
        let payload = input.bytes(64);
        stream.push(flags);
        stream.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        stream.extend_from_slice(payload);
    }
    while !input.is_empty() {
        stream.push(input.byte());
    }
    stream
}

/// Messages whose five bytes of prefix are there.
fn messages(mut stream: &[u8]) -> u64 {
    let mut count = 0;
    while let [_, a, b, c, d, rest @ ..] = stream {
        count += 1;
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        stream = rest.get(length..).unwrap_or_default();
    }
    count
}
