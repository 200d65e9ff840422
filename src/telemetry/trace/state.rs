//! `tracestate`, in which tracers keep their own words about a trace.
//!
//! Law: a request's fields pass untouched, whatever they hold; what stands in a span is the list that all of them make
//! up, if it is one, without what makes it longer than [`MOST`] bytes. Source: W3C trace context, section 3.3.

use super::record::MOST;

/// Members that a list may have.
const MEMBERS: usize = 32;
/// Characters of a key, and of a value.
const KEY: usize = 256;
const VALUE: usize = 256;
/// Bytes of a member that goes before shorter ones where the list is too long (section 3.3.1.5).
const LARGE: usize = 128;

/// The list that `fields` make up, without blanks and empty members; empty where it is none.
pub fn list<'v>(fields: impl IntoIterator<Item = &'v [u8]>) -> String {
    let mut members: Vec<(&str, &str)> = Vec::new();
    for field in fields {
        let Ok(field) = str::from_utf8(field) else { return String::new() };
        for member in field.split(',').map(|member| member.trim_matches([' ', '\t'])) {
            if member.is_empty() {
                continue;
            }
            let Some((key, value)) =
                member.split_once('=').filter(|(key, value)| is_key(key) && is_value(value))
            else {
                return String::new();
            };
            if members.len() == MEMBERS || members.iter().any(|(known, _)| *known == key) {
                return String::new();
            }
            members.push((key, value));
        }
    }
    while length(&members) > MOST {
        let large = members.iter().rposition(|member| length(&[*member]) > LARGE);
        members.remove(large.unwrap_or(members.len() - 1));
    }
    let mut list = String::with_capacity(length(&members));
    for (key, value) in members {
        for part in [if list.is_empty() { "" } else { "," }, key, "=", value] {
            list.push_str(part);
        }
    }
    list
}

/// Bytes of the list of `members`.
fn length(members: &[(&str, &str)]) -> usize {
    let each = members.iter().map(|(key, value)| key.len() + 1 + value.len());
    each.sum::<usize>() + members.len().saturating_sub(1)
}

/// A key, or a tenant and a system. Level 2 lets it begin with a digit.
fn is_key(key: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"_-*/".contains(&c))
    };
    key.len() <= KEY
        && match key.split_once('@') {
            Some((tenant, system)) => is_part(tenant) && is_part(system),
            None => is_part(key),
        }
}

/// Printable, without what separates members and keys, and without a blank at its end.
fn is_value(value: &str) -> bool {
    let fits = |c: u8| (b' '..=b'~').contains(&c) && c != b',' && c != b'=';
    !value.is_empty() && value.len() <= VALUE && value.bytes().all(fits) && !value.ends_with(' ')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(fields: &[&str]) -> String {
        list(fields.iter().map(|field| field.as_bytes()))
    }

    #[test]
    fn several_fields_are_one_list_in_their_order() {
        assert_eq!(
            of(&["rojo=00f067aa0ba902b7", "congo=t61rcWkgMzE"]),
            "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
        );
        assert_eq!(of(&[" a=1 ,\t, b=x y", "", "fw529a3039@dt=FfFf;1"]), "a=1,b=x y,fw529a3039@dt=FfFf;1");
        assert_eq!(of(&[]), "");
    }

    #[test]
    fn what_is_no_list_stands_in_no_span() {
        for wrong in
            ["a", "a=", "=1", "A=1", "a b=1", "a=1=2", "a=é", "a@=1", "@a=1", "a=1,a=2", "-a=1", "a@b@c=1"]
        {
            assert_eq!(of(&["ok=1", wrong]), "", "{wrong}");
        }
        let of_many = |count: usize| (0..count).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join(",");
        assert_eq!(of(&[&of_many(MEMBERS)]), of_many(MEMBERS));
        assert_eq!(of(&[&of_many(MEMBERS + 1)]), "");
    }

    #[test]
    fn of_a_list_that_is_too_long_the_large_members_go_first_and_then_the_last() {
        let member = |key: &str, bytes: usize| format!("{key}={}", "x".repeat(bytes - key.len() - 1));
        let (large, small) = (member("large", LARGE + 1), member("small", LARGE));
        let eight: Vec<String> = (0..8).map(|n| member(&format!("k{n}"), 127)).collect();
        let full = eight.join(",");
        assert_eq!((full.len(), of(&[&full])), (MOST - 1, full.clone()), "it just fits");
        assert_eq!(of(&[&large, &full]), full);
        assert_eq!(of(&[&small, &full]), [&[small][..], &eight[..7]].concat().join(","));
        let longest = |key: &str| member(key, KEY);
        assert_eq!(of(&[&longest("a"), &longest("b"), &longest("c"), &longest("d")]).len(), 3 * KEY + 2);
    }

    proptest! {
        #[test]
        fn a_list_that_was_made_is_made_of_itself(fields in prop::collection::vec("[a-c]{1,2}=[ -~]{0,9}(,[a-z@]{1,4}=[!-+]{1,3})*", 0..5)) {
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            let list = of(&fields);
            prop_assert_eq!(of(&[&list]), list);
        }
    }
}
