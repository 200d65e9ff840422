//! Fields that look as if they held a credential: nothing keeps their values beyond the message that they came in.
//!
//! Law: it goes by the name alone, and rather takes a harmless field for a secret than the reverse: what is not kept is read,
//! or written, anew, and that is all that it costs.

/// What stands in the names of fields that hold credentials, in lower case.
const PARTS: [&str; 19] = [
    "assertion",
    "auth",
    "bearer",
    "cert",
    "cookie",
    "cred",
    "csrf",
    "jwt",
    "key",
    "nonce",
    "otp",
    "pass",
    "principal",
    "saml",
    "secret",
    "session",
    "sig",
    "token",
    "xsrf",
];

/// Whether a field of this name, which is in lower case, may hold a credential.
pub fn is_secret(name: &str) -> bool {
    PARTS.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_credentials_are_known_and_those_of_every_message_are_not() {
        let secrets = [
            "authorization",
            "proxy-authorization",
            "cookie",
            "set-cookie",
            "x-api-key",
            "api-key",
            "apikey",
            "x-goog-api-key",
            "x-goog-iap-jwt-assertion",
            "x-auth-token",
            "x-amz-security-token",
            "x-amzn-oidc-accesstoken",
            "x-forwarded-access-token",
            "x-vault-token",
            "private-token",
            "x-session-id",
            "x-csrf",
            "x-hub-signature-256",
            "x-password",
            "x-client-secret",
            "x-ms-client-principal",
            "x-forwarded-client-cert",
        ];
        assert!(secrets.into_iter().all(is_secret));
        let harmless = [
            "accept",
            "accept-encoding",
            "cache-control",
            "connection",
            "content-length",
            "content-type",
            "date",
            "grpc-accept-encoding",
            "grpc-encoding",
            "grpc-message",
            "grpc-status",
            "grpc-timeout",
            "host",
            "server",
            "te",
            "traceparent",
            "tracestate",
            "user-agent",
            "via",
            "x-b3-traceid",
            "x-envoy-upstream-service-time",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-model-name",
            "x-request-id",
        ];
        assert!(!harmless.into_iter().any(is_secret));
    }
}
