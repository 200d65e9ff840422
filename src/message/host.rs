//! The normal form of a request's host, by which virtual hosts are found.
//!
//! Law: lower case, no port, no trailing dot; an IPv6 address keeps its brackets. What RFC 3986 section 3.2 does not
//! call a host, or what carries user information, is refused. Nothing here knows which hosts exist.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

use http::header::HOST;
use http::{HeaderMap, Uri};

/// Why an authority names no host; each is answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidHost {
    /// Nothing stands before the port.
    Empty,
    /// `user@host`: RFC 9110 section 4.2.4 wants it refused.
    UserInfo,
    /// A character that must not stand in a host.
    Character(char),
    /// What follows the host is not `:` and a number up to 65535.
    Port,
    /// What stands in brackets is not an IPv6 address.
    Ipv6,
    /// Two dots in a row, or one at the start.
    EmptyLabel,
}

impl fmt::Display for InvalidHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidHost::Empty => f.write_str("the host is empty"),
            InvalidHost::UserInfo => f.write_str("the host carries user information"),
            InvalidHost::Character(c) => write!(f, "the host holds {c:?}"),
            InvalidHost::Port => f.write_str("the port of the host is not a number up to 65535"),
            InvalidHost::Ipv6 => f.write_str("the host is no IPv6 address in brackets"),
            InvalidHost::EmptyLabel => f.write_str("the host has an empty label"),
        }
    }
}

impl std::error::Error for InvalidHost {}

/// Whom a request is for, as sent: the authority of its target, else its Host.
pub fn authority<'a>(target: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    match target.authority() {
        Some(authority) => Some(authority.as_str()),
        None => headers.get(HOST)?.to_str().ok(),
    }
}

/// The normal form of the host in `authority` (`host[:port]`, as `Host` and `:authority` carry it). Borrowed when
/// only its end had to go.
pub fn normalise(authority: &str) -> Result<Cow<'_, str>, InvalidHost> {
    if let Some(host) = plain(authority) {
        return Ok(Cow::Borrowed(host));
    }
    if authority.contains('@') {
        return Err(InvalidHost::UserInfo);
    }
    let host = match authority.strip_prefix('[') {
        Some(rest) => bracketed(authority, rest)?,
        None => name(authority)?,
    };
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Ok(Cow::Owned(host.to_ascii_lowercase()));
    }
    Ok(Cow::Borrowed(host))
}

/// The name of an authority that has nothing to it but a port: letters in lower case and digits, in labels. Nearly all
/// are such.
fn plain(authority: &str) -> Option<&str> {
    let bytes = authority.as_bytes();
    let mut before = b'.';
    let mut end = bytes.len();
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => {}
            b'.' if before != b'.' => {}
            b':' => {
                end = at;
                break;
            }
            _ => return None,
        }
        before = byte;
    }
    let port = authority.get(end..)?;
    (before != b'.' && check_port(port.strip_prefix(':').unwrap_or_default()).is_ok())
        .then(|| &authority[..end])
}

/// `[address]` of `[address]:port`; `rest` is `authority` behind its first bracket.
fn bracketed<'a>(authority: &'a str, rest: &'a str) -> Result<&'a str, InvalidHost> {
    let (address, after) = rest.split_once(']').ok_or(InvalidHost::Ipv6)?;
    address.parse::<Ipv6Addr>().map_err(|_| InvalidHost::Ipv6)?;
    if !after.is_empty() {
        check_port(after.strip_prefix(':').ok_or(InvalidHost::Port)?)?;
    }
    Ok(authority.get(..address.len() + 2).unwrap_or(authority))
}

/// The name (or IPv4 address) of `name:port`, without the dot of the root.
fn name(authority: &str) -> Result<&str, InvalidHost> {
    let (name, port) = authority.split_once(':').unwrap_or((authority, ""));
    check_name(name)?;
    check_port(port)?;
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        return Err(InvalidHost::Empty);
    }
    if name.starts_with('.') || name.ends_with('.') || name.contains("..") {
        return Err(InvalidHost::EmptyLabel);
    }
    Ok(name)
}

/// RFC 3986 `reg-name`: some gRPC clients send the percent-encoded path of a unix socket.
fn check_name(name: &str) -> Result<(), InvalidHost> {
    if let Some(at) = name.bytes().position(|byte| !IN_NAME[usize::from(byte)]) {
        let character = name.get(at..).and_then(|rest| rest.chars().next());
        return Err(InvalidHost::Character(character.unwrap_or(char::REPLACEMENT_CHARACTER)));
    }
    if name.contains('%') && broken_percent_code(name) {
        return Err(InvalidHost::Character('%'));
    }
    Ok(())
}

/// The bytes of a `reg-name`: unreserved, sub-delims and `%`; but no comma, which makes one field of two.
static IN_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x80 {
        table[byte] = (byte as u8).is_ascii_alphanumeric()
            || matches!(byte as u8, b'-' | b'.' | b'_' | b'~' | b'%')
            || matches!(byte as u8, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=');
        byte += 1;
    }
    table
};

fn broken_percent_code(name: &str) -> bool {
    name.split('%').skip(1).any(|after| after.bytes().take(2).filter(u8::is_ascii_hexdigit).count() < 2)
}

/// Digits, or nothing: RFC 3986 section 3.2.3 lets the digits be left out.
fn check_port(port: &str) -> Result<(), InvalidHost> {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    // Four digits are a port, whichever they are.
    let fits = digits && (port.len() <= 4 || port.parse::<u16>().is_ok());
    if fits { Ok(()) } else { Err(InvalidHost::Port) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_host_have_one_normal_form() {
        for (authority, expected) in [
            ("inception", "inception"),
            ("Inception.Kubeflow.svc.CLUSTER.local:8500", "inception.kubeflow.svc.cluster.local"),
            ("inception.", "inception"),
            ("inception.:80", "inception"),
            ("inception:", "inception"),
            ("10.0.0.1:8500", "10.0.0.1"),
            ("[::1]", "[::1]"),
            ("[::FFFF:10.0.0.1]:8500", "[::ffff:10.0.0.1]"),
            ("my_model-1:00080", "my_model-1"),
            ("%2Ftmp%2Fweir.sock", "%2ftmp%2fweir.sock"),
        ] {
            assert_eq!(normalise(authority).as_deref(), Ok(expected), "{authority:?}");
        }
    }

    #[test]
    fn a_host_is_borrowed_unless_its_letters_change() {
        for authority in ["inception", "inception.:8500", "[::1]:80"] {
            assert!(matches!(normalise(authority), Ok(Cow::Borrowed(_))), "{authority:?}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused_with_the_reason() {
        for (authority, expected) in [
            ("", InvalidHost::Empty),
            (":80", InvalidHost::Empty),
            (".", InvalidHost::Empty),
            ("user@host", InvalidHost::UserInfo),
            ("user:pw@[::1]", InvalidHost::UserInfo),
            ("a b", InvalidHost::Character(' ')),
            (" a", InvalidHost::Character(' ')),
            ("a/b", InvalidHost::Character('/')),
            ("a?b", InvalidHost::Character('?')),
            ("a#b", InvalidHost::Character('#')),
            ("a\0", InvalidHost::Character('\0')),
            ("é.example", InvalidHost::Character('é')),
            ("a%2", InvalidHost::Character('%')),
            ("a:80:90", InvalidHost::Port),
            ("::1", InvalidHost::Port),
            ("a:x", InvalidHost::Port),
            ("a:+1", InvalidHost::Port),
            ("a:65536", InvalidHost::Port),
            ("[::1]80", InvalidHost::Port),
            ("[::1", InvalidHost::Ipv6),
            ("[]", InvalidHost::Ipv6),
            ("[10.0.0.1]", InvalidHost::Ipv6),
            ("[fe80::1%25eth0]", InvalidHost::Ipv6),
            ("a..b", InvalidHost::EmptyLabel),
            ("a..", InvalidHost::EmptyLabel),
            (".a", InvalidHost::EmptyLabel),
        ] {
            assert_eq!(normalise(authority), Err(expected), "{authority:?}");
        }
    }

    proptest! {
        #[test]
        fn normalising_twice_is_normalising_once(authority in r"[aB.:\[\]0-9%@é_-]{0,12}|[A-Za-z.]{1,12}(:[0-9]{0,6})?|.{0,8}") {
            if let Ok(once) = normalise(&authority) {
                prop_assert!(matches!(normalise(&once), Ok(Cow::Borrowed(twice)) if twice == once));
            }
        }
    }
}
