//! Values with a grammar of their own: durations, sizes, addresses, ranges of addresses.
//!
//! Law: pure text to value; the error is the reason. What is allowed is told by the reader that asked.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::names::is_resolvable;
use crate::snapshot::{Address, BindAddress};

/// The longest duration: ten years. Whoever adds it to an instant need not fear an overflow.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(10 * 366 * 86_400);

const DURATION_UNITS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

const SIZE_UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

/// `250ms`, `5s`, `1m`, `1h`, `0.25s`; several in a row as Go writes them: `1m30s`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    let mut rest = text;
    let mut total_ns = 0u64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let Some((_, unit_ns)) = DURATION_UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(match unit {
                "" if !number.is_empty() => format!("`{text}` has no unit"),
                _ => format!("`{text}` is no duration"),
            });
        };
        let ns = scaled(number, *unit_ns).ok_or_else(|| match is_too_long(number, *unit_ns) {
            true => too_long(text),
            false => format!("`{text}` is no duration"),
        })?;
        total_ns = total_ns.checked_add(ns).ok_or_else(|| too_long(text))?;
        rest = tail;
    }
    match Duration::from_nanos(total_ns) {
        duration if duration <= MAX_DURATION => Ok(duration),
        _ => Err(too_long(text)),
    }
}

fn too_long(text: &str) -> String {
    format!("`{text}` is too long: at most {}", print_duration(MAX_DURATION))
}

/// Whether a number that cannot be counted is one all the same, beyond every bound.
fn is_too_long(number: &str, unit: u64) -> bool {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let bound = MAX_DURATION.as_nanos() / u128::from(unit);
    digits(whole) && digits(fraction) && whole.parse::<u128>().map_or(true, |whole| whole > bound)
}

/// The shortest text that [`parse_duration`] reads as `duration`, in one unit.
pub(crate) fn print_duration(duration: Duration) -> String {
    let ns = duration.as_nanos();
    let (unit, unit_ns) = match ns {
        0 => ("s", 1),
        _ => DURATION_UNITS
            .into_iter()
            .rev()
            .map(|(unit, unit_ns)| (unit, u128::from(unit_ns)))
            .find(|(_, unit_ns)| ns.is_multiple_of(*unit_ns))
            .unwrap_or(("ns", 1)),
    };
    format!("{}{unit}", ns / unit_ns)
}

/// A decimal number times `unit`, exactly; `None` if it is no number, no whole count of units, or too large.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 18 {
        return None;
    }
    let divisor = 10u128.pow(fraction.len() as u32);
    let part = fraction.parse::<u128>().ok()?.checked_mul(unit.into())?;
    let part = u64::try_from(part / divisor).ok().filter(|_| part.is_multiple_of(divisor))?;
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(part)
}

/// `64KiB`, `4MiB`, `1GiB`, `512B`
pub(crate) fn parse_size(text: &str) -> Result<usize, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    if unit.is_empty() && !number.is_empty() {
        return Err(format!("`{text}` has no unit"));
    }
    let unit = SIZE_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, bytes)| *bytes);
    let bytes = unit.filter(|_| !number.is_empty()).ok_or_else(|| format!("`{text}` is no size"))?;
    let total = number.parse::<u64>().ok().and_then(|count| count.checked_mul(bytes));
    total.and_then(|total| usize::try_from(total).ok()).ok_or_else(|| format!("`{text}` is too large"))
}

/// The shortest text that [`parse_size`] reads as `bytes`.
pub(crate) fn print_size(bytes: usize) -> String {
    let bytes = bytes as u64;
    for (unit, size) in [SIZE_UNITS[2], SIZE_UNITS[1], SIZE_UNITS[0]] {
        if bytes > 0 && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    format!("{bytes}B")
}

/// `IP:port`, `[IPv6]:port`, `name:port` or `unix:/path`: where to dial.
pub(crate) fn parse_address(text: &str) -> Result<Address, String> {
    if let Some(path) = unix_path(text)? {
        return Ok(Address::Unix(path));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return match address.port() {
            0 => Err("port 0 cannot be dialled".into()),
            _ => Ok(Address::Socket(address)),
        };
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("`{text}` has no port"))?;
    let port = port.parse::<u16>().ok().filter(|&port| port > 0);
    let port = port.ok_or_else(|| format!("`{text}` has no port between 1 and 65535"))?;
    // All digits and dots, yet no IP address: a typing error, not a name.
    if !is_resolvable(host) || host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(format!("`{host}` is neither an IP address nor a DNS name"));
    }
    Ok(Address::Dns { host: host.to_ascii_lowercase().into(), port })
}

/// `IP:port`, `[IPv6]:port` or `unix:/path`: where to listen. Port 0 lets the system choose.
pub(crate) fn parse_bind_address(text: &str) -> Result<BindAddress, String> {
    match unix_path(text)? {
        Some(path) => Ok(BindAddress::Unix(path)),
        None => parse_socket(text).map(BindAddress::Socket),
    }
}

/// `IP:port` or `[IPv6]:port`
pub(crate) fn parse_socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is no IP address with a port"))
}

fn unix_path(text: &str) -> Result<Option<PathBuf>, String> {
    match text.strip_prefix("unix:") {
        None => Ok(None),
        // sockaddr_un holds 108 bytes with the final zero.
        Some(path) if path.len() > 107 => Err(format!("`{path}` is longer than a socket's 107 bytes")),
        Some(path) if path.starts_with('/') && !path.ends_with('/') => Ok(Some(path.into())),
        Some(path) => Err(format!("`{path}` is no absolute path of a socket")),
    }
}

/// `10.8.0.0/14`, `fd00::/8`; a lone address stands for itself. Bits behind the prefix are refused.
pub(crate) fn parse_cidr(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let net: IpNet = text.parse().map_err(|_| format!("`{text}` is no range of addresses"))?;
    match net.trunc() {
        exact if exact == net => Ok(net),
        exact => Err(format!("`{text}` has bits behind its prefix; the range is `{exact}`")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_go_and_protobuf_write_them() {
        for (text, ms) in [
            ("250ms", 250),
            ("5s", 5_000),
            ("1m", 60_000),
            ("1h", 3_600_000),
            ("0.25s", 250),
            ("1m30s", 90_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        for bad in [
            "",
            "5",
            "s",
            "-1s",
            "1.s",
            ".5s",
            "1..5s",
            "5 s",
            "5S",
            "1e3s",
            "0.5ns",
            "999999999h",
            "1d",
            "٣s",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_duration_that_is_too_long_is_told_with_the_bound_and_is_one_all_the_same() {
        for long in ["87841h", "99999999h", "999999999999999999999999999999999999999999h", "1h87840h", "1e3s"]
        {
            let reason = parse_duration(long).expect_err(long);
            let expected = match long {
                "1e3s" => "`1e3s` is no duration".to_owned(),
                _ => format!("`{long}` is too long: at most 87840h"),
            };
            assert_eq!(reason, expected);
        }
        assert!(parse_duration("87840h").is_ok());
    }

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!(parse_size("64KiB"), Ok(64 << 10));
        assert_eq!(parse_size("4MiB"), Ok(4 << 20));
        assert_eq!(parse_size("512B"), Ok(512));
        for bad in ["", "4", "4MB", "4 MiB", "-4MiB", "1.5MiB", "MiB", "99999999999999GiB"] {
            assert!(parse_size(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_address_is_an_ip_a_name_or_a_socket_in_the_file_system() {
        assert!(matches!(parse_address("127.0.0.1:80"), Ok(Address::Socket(_))));
        assert!(matches!(parse_address("[::1]:80"), Ok(Address::Socket(_))));
        assert_eq!(
            parse_address("Model_1.svc:80"),
            Ok(Address::Dns { host: "model_1.svc".into(), port: 80 })
        );
        assert_eq!(parse_address("unix:/run/m"), Ok(Address::Unix("/run/m".into())));
        for bad in [
            "",
            ":80",
            "a",
            "a:0",
            "a:65536",
            "1.2.3:80",
            "256.1.1.1:80",
            "a b:80",
            "::1:80",
            "unix:m",
            "unix:/",
        ] {
            assert!(parse_address(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_range_has_no_bits_behind_its_prefix() {
        assert_eq!(parse_cidr("10.8.0.0/14").map(|net| net.to_string()), Ok("10.8.0.0/14".into()));
        assert_eq!(parse_cidr("10.0.0.7").map(|net| net.to_string()), Ok("10.0.0.7/32".into()));
        assert!(parse_cidr("10.9.0.0/14").is_err_and(|reason| reason.contains("10.8.0.0/14")));
        assert!(parse_cidr("10.0.0.0/33").is_err());
    }

    proptest! {
        #[test]
        fn a_printed_duration_reads_back(ns in 0..=MAX_DURATION.as_nanos() as u64) {
            let duration = Duration::from_nanos(ns);
            prop_assert_eq!(parse_duration(&print_duration(duration)), Ok(duration));
        }

        #[test]
        fn a_printed_size_reads_back(bytes in 0..=1usize << 50) {
            prop_assert_eq!(parse_size(&print_size(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_makes_a_value_reader_panic(text in "\\PC{0,24}|[0-9.]{0,30}(ms|s|h|KiB)?|[0-9a-f:./\\[\\]]{0,24}") {
            let _ = (parse_duration(&text), parse_size(&text), parse_address(&text));
            let _ = (parse_bind_address(&text), parse_cidr(&text), is_resolvable(&text));
        }
    }
}
