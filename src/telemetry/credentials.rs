//! Names of headers that carry credentials: what they say belongs in no log and no metric.
//!
//! Law: those that carry nothing else are refused by whoever reads a configuration; those that usually do are warned
//! about, as a header of that name may say something else in somebody's system.

/// They carry nothing else.
const ALWAYS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "set-cookie"];
/// They usually do: keys and tokens of clouds, gateways and identity providers.
const USUALLY: [&str; 18] = [
    "api-key",
    "apikey",
    "cf-access-jwt-assertion",
    "private-token",
    "x-access-token",
    "x-amz-security-token",
    "x-amzn-oidc-accesstoken",
    "x-amzn-oidc-data",
    "x-api-key",
    "x-auth-token",
    "x-authorization",
    "x-csrf-token",
    "x-forwarded-access-token",
    "x-goog-api-key",
    "x-goog-iap-jwt-assertion",
    "x-ms-token-aad-access-token",
    "x-vault-token",
    "x-xsrf-token",
];

/// Whether a header of this name, in lower case, carries nothing but credentials.
pub fn is_credentials(name: &str) -> bool {
    ALWAYS.contains(&name)
}

/// Whether it usually does.
pub fn is_usually_credentials(name: &str) -> bool {
    USUALLY.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_every_name_and_no_other() {
        let page = include_str!("../../docs/access-log.md");
        let list = |begin: &str| {
            let rest = page.split_once(begin).expect("the list").1;
            let list = rest.split_once(".\n").expect("its end").0;
            list.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(list("Refused by name are"), ALWAYS);
        assert_eq!(list("Warned about are"), USUALLY);
    }
}
