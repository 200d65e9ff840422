//! Names that the encoder knows, found by their length and three of their bytes.

/// What becomes of a field with a name that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    /// The table learns its values, as long as they come again.
    Learn,
    /// Its values hardly ever come again.
    Pass,
    /// A secret: no table keeps it, here or further on (RFC 7541 section 7.1.3). Names that are not known may be one by what
    /// they look like.
    Secret,
    /// `te`: learnt if it is `trailers`, else not written.
    Te,
    /// Of a connection: not written (RFC 9113 section 8.2.2).
    Connection,
}

/// A name that is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) name: &'static str,
    /// In the static table; 0: not there.
    pub(super) index: u8,
    pub(super) usage: Usage,
}

/// Places for names.
pub(super) const SLOTS: usize = 1 << 8;

/// The place of a name; others may share it.
#[inline]
pub(super) const fn slot(name: &[u8]) -> usize {
    let [first, .., last] = name else { return 0 };
    let key = name.len() as u32 & 0xff
        | (*first as u32) << 8
        | (name[name.len() / 2] as u32) << 16
        | (*last as u32) << 24;
    (key.wrapping_mul(FACTOR) >> 24) as usize
}

/// Found by trying: it gives each known name a slot of its own.
const FACTOR: u32 = 0xd102_0a15;

/// The known name of a slot.
#[inline]
pub(super) fn known(slot: usize, name: &str) -> Option<&'static Known> {
    let place = KNOWN_OF_SLOT[slot % SLOTS];
    KNOWN.get(usize::from(place).wrapping_sub(1)).filter(|known| known.name == name)
}

/// For each slot the place of a known name, from 1 on.
static KNOWN_OF_SLOT: [u8; SLOTS] = slots();

const fn slots() -> [u8; SLOTS] {
    let mut slots = [0; SLOTS];
    let mut place = 0;
    while place < KNOWN.len() {
        let slot = slot(KNOWN[place].name.as_bytes());
        assert!(slots[slot] == 0, "two known names share a slot");
        slots[slot] = place as u8 + 1;
        place += 1;
    }
    slots
}

const fn learn(index: u8, name: &'static str) -> Known {
    Known { name, index, usage: Usage::Learn }
}

const fn pass(index: u8, name: &'static str) -> Known {
    Known { name, index, usage: Usage::Pass }
}

const fn secret(index: u8, name: &'static str) -> Known {
    Known { name, index, usage: Usage::Secret }
}

const fn connection(index: u8, name: &'static str) -> Known {
    Known { name, index, usage: Usage::Connection }
}

const KNOWN: [Known; 52] = [
    learn(15, "accept-charset"),
    learn(16, "accept-encoding"),
    learn(17, "accept-language"),
    learn(18, "accept-ranges"),
    learn(19, "accept"),
    learn(20, "access-control-allow-origin"),
    pass(21, "age"),
    learn(22, "allow"),
    secret(23, "authorization"),
    learn(24, "cache-control"),
    learn(25, "content-disposition"),
    learn(26, "content-encoding"),
    learn(27, "content-language"),
    pass(28, "content-length"),
    learn(29, "content-location"),
    pass(30, "content-range"),
    learn(31, "content-type"),
    secret(32, "cookie"),
    learn(33, "date"),
    pass(34, "etag"),
    learn(35, "expect"),
    pass(36, "expires"),
    learn(37, "from"),
    learn(38, "host"),
    pass(39, "if-match"),
    pass(40, "if-modified-since"),
    pass(41, "if-none-match"),
    pass(42, "if-range"),
    pass(43, "if-unmodified-since"),
    pass(44, "last-modified"),
    learn(45, "link"),
    pass(46, "location"),
    learn(47, "max-forwards"),
    learn(48, "proxy-authenticate"),
    secret(49, "proxy-authorization"),
    pass(50, "range"),
    learn(51, "referer"),
    learn(52, "refresh"),
    pass(53, "retry-after"),
    learn(54, "server"),
    secret(55, "set-cookie"),
    learn(56, "strict-transport-security"),
    connection(57, "transfer-encoding"),
    learn(58, "user-agent"),
    learn(59, "vary"),
    learn(60, "via"),
    learn(61, "www-authenticate"),
    Known { name: "te", index: 0, usage: Usage::Te },
    connection(0, "connection"),
    connection(0, "keep-alive"),
    connection(0, "proxy-connection"),
    connection(0, "upgrade"),
];
