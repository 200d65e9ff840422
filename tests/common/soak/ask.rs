//! What a request asks of its upstream, its own harm included, and the header that carries it.

/// The header; its first word is the request's number.
pub const HEADER: &str = "x-soak";

/// How an upstream treats a request badly, at its first attempt only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Harm {
    None,
    /// The connection is reset before the answer.
    Reset,
    /// The connection is closed before the answer.
    Close,
    /// The answer ends in the middle.
    Cut,
    /// An answer that is an error of the upstream's own.
    Refuse,
    /// No answer.
    Stall,
    /// Half of an answer, and no more.
    StallInBody,
    /// What is no HTTP.
    Garbage,
    /// A right answer, and bytes behind it.
    Extra,
    /// A right answer before the request's body was read.
    Early,
    /// RST_STREAM before the answer.
    StreamReset,
    /// REFUSED_STREAM.
    StreamRefused,
    /// RST_STREAM in the middle of the answer.
    StreamCut,
    /// A right answer, behind a GOAWAY.
    Goaway,
    /// The connection is closed with all its streams.
    Kill,
}

impl Harm {
    /// What an HTTP/1 upstream does.
    pub const HTTP1: [Harm; 9] = [
        Harm::Reset,
        Harm::Close,
        Harm::Cut,
        Harm::Refuse,
        Harm::Stall,
        Harm::StallInBody,
        Harm::Garbage,
        Harm::Extra,
        Harm::Early,
    ];
    /// What an HTTP/2 upstream does.
    pub const HTTP2: [Harm; 8] = [
        Harm::Refuse,
        Harm::Stall,
        Harm::StallInBody,
        Harm::StreamReset,
        Harm::StreamRefused,
        Harm::StreamCut,
        Harm::Goaway,
        Harm::Kill,
    ];

    fn parse(name: &str) -> Harm {
        let all = Harm::HTTP1.into_iter().chain(Harm::HTTP2);
        all.into_iter().find(|harm| format!("{harm:?}") == name).unwrap_or(Harm::None)
    }

    /// Whether the request has to say how long it waits.
    pub fn stalls(self) -> bool {
        matches!(self, Harm::Stall | Harm::StallInBody)
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub id: u64,
    /// Bytes of the request's body, without what frames messages.
    pub up: usize,
    /// Bytes of each message of the answer; by REST there is one.
    pub down: usize,
    pub messages: usize,
    /// The upstream answers while it is still being asked.
    pub duplex: bool,
    /// How long the upstream thinks.
    pub think_ms: u64,
    /// The upstream says goodbye to the connection with its answer.
    pub close: bool,
    pub harm: Harm,
}

impl Ask {
    pub fn to_header(&self) -> String {
        let Ask { id, up, down, messages, duplex, think_ms, close, harm } = self;
        format!("{id} {up} {down} {messages} {duplex} {think_ms} {close} {harm:?}")
    }

    pub fn parse(text: &str) -> Option<Ask> {
        let mut words = text.split(' ');
        let mut next = || words.next();
        Some(Ask {
            id: next()?.parse().ok()?,
            up: next()?.parse().ok()?,
            down: next()?.parse().ok()?,
            messages: next()?.parse().ok()?,
            duplex: next()? == "true",
            think_ms: next()?.parse().ok()?,
            close: next()? == "true",
            harm: Harm::parse(next()?),
        })
    }

    /// A number that depends on the request and on `salt`, evenly from 0 to `below`.
    pub fn pick(&self, salt: u64, below: u64) -> u64 {
        pick(self.id, salt, below)
    }
}

/// See [`Ask::pick`]. By splitmix64, so that a run can be had again.
pub fn pick(id: u64, salt: u64, below: u64) -> u64 {
    let mut z = (id << 8 | salt).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % below
}
