//! The address of a proxy's admin, as it is typed.
//!
//! Law: the same for every command that asks one: an address or a name, and a port.

use http::uri::Authority;

/// An address, or a name and a port.
pub fn parse(text: &str) -> Result<String, String> {
    let authority =
        text.parse::<Authority>().ok().filter(|read| !read.host().is_empty() && !text.contains('@'));
    match authority.and_then(|read| read.port_u16()) {
        Some(1..) => Ok(text.to_owned()),
        _ => Err("write a name or an address and a port, as in localhost:15000 or [::1]:15000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_is_a_name_or_an_address_with_a_port() {
        for right in ["127.0.0.1:15000", "localhost:15000", "[::1]:15000", "weir.models.svc:1"] {
            assert_eq!(parse(right).as_deref(), Ok(right));
        }
        for wrong in [
            "",
            "localhost",
            ":15000",
            "localhost:",
            "localhost:0",
            "localhost:65536",
            "::1:15000",
            "a b:1",
            "a@b:1",
            "http://localhost:15000",
            "a:1/",
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
