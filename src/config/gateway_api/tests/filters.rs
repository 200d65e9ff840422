//! What is refused of `filters:`, of a rule and of a backend.

use super::checks::{BACKEND, each, many};
use super::*;

#[test]
fn a_filter_has_one_type_and_its_key_and_no_other() {
    let set = "requestHeaderModifier: {set: [{name: a, value: b}]}";
    each(&[
        (&format!("filters: [{{{set}}}]"), "missing", "filters[0]"),
        ("filters: [{type: RequestHeaderModifier}]", "missing", "filters[0]"),
        (
            &format!("filters: [{{type: URLRewrite, urlRewrite: {{}}, {set}}}]"),
            "filter",
            "filters[0].requestHeaderModifier",
        ),
        (
            &format!(
                "filters: [{{type: RequestHeaderModifier, {set}}}, {{type: RequestHeaderModifier, {set}}}]"
            ),
            "filter",
            "filters[1]",
        ),
        ("filters: [{type: Gzip}]", "unknown-word", "filters[0].type"),
        (
            "filters: [{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: {}}]",
            "filter",
            "filters",
        ),
    ]);
    for (name, key) in [
        ("ResponseHeaderModifier", "responseHeaderModifier"),
        ("RequestRedirect", "requestRedirect"),
        ("URLRewrite", "urlRewrite"),
        ("CORS", "cors"),
    ] {
        let one = format!("{{type: {name}, {key}: {{}}}}");
        let (_, found) = read("HTTPRoute", &format!("{{rules: [{{filters: [{one}, {one}]}}]}}"));
        assert!(
            found.contains(&(Severity::Error, "filter", "rules[0].filters[1]".into())),
            "{name}: {found:?}"
        );
    }
}

#[test]
fn extensions_and_the_experimental_channel_are_refused_by_name() {
    each(&[
        (
            "filters: [{type: ExtensionRef, extensionRef: {group: a, kind: B, name: c}}]",
            "not-supported",
            "filters[0].extensionRef",
        ),
        ("filters: [{type: ExtensionRef}]", "not-supported", "filters[0].type"),
        ("filters: [{type: ExternalAuth, externalAuth: {}}]", "not-supported", "filters[0].externalAuth"),
        ("sessionPersistence: {type: Cookie}", "not-supported", "sessionPersistence"),
    ]);
    assert_eq!(
        fault("HTTPRoute", "{useDefaultGateways: All}"),
        ("not-supported", "useDefaultGateways".into())
    );
}

#[test]
fn a_header_is_edited_once_and_never_a_connections_own_or_the_host() {
    let edit = |edits: &str| {
        rule_fault(&format!(
            "filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{{edits}}}}}], {BACKEND}"
        ))
    };
    let at = |rest: &str| format!("filters[0].requestHeaderModifier.{rest}");
    for (edits, code, path) in [
        ("set: [{name: a, value: b}], add: [{name: A, value: c}]", "repeated", "add[0].name"),
        ("set: [{name: a, value: b}], remove: [a]", "repeated", "remove[0]"),
        ("set: [{name: Host, value: b}]", "header-name", "set[0].name"),
        ("remove: [Transfer-Encoding]", "header-name", "remove[0]"),
        ("add: [{name: content-length, value: \"1\"}]", "header-name", "add[0].name"),
        ("set: [{name: a, value: \"b\\nc\"}]", "header-value", "set[0].value"),
        ("set: [{name: a, value: \" b\"}]", "header-value", "set[0].value"),
        ("set: [{name: a, value: \"\"}]", "length", "set[0].value"),
        ("replace: []", "unknown-key", "replace"),
    ] {
        assert_eq!(edit(edits), (code, at(path)), "{edits}");
    }
    let list = |key: &str, text: &str| format!("{key}: [{}]", many(17, text));
    for (key, text) in [("set", "{name: n%, value: v}"), ("add", "{name: n%, value: v}"), ("remove", "n%")] {
        assert_eq!(edit(&list(key, text)), ("too-many", at(key)), "{key}");
    }
}

#[test]
fn a_redirect_excludes_backends_and_has_one_of_five_statuses() {
    let redirect = |keys: &str| format!("filters: [{{type: RequestRedirect, requestRedirect: {{{keys}}}}}]");
    let at = |rest: &str| format!("filters[0].requestRedirect.{rest}");
    each(&[
        (&format!("{}, {BACKEND}", redirect("")), "redirect", "backendRefs"),
        (&redirect("statusCode: 304"), "status", &at("statusCode")),
        (&redirect("statusCode: 200"), "status", &at("statusCode")),
        (&redirect("scheme: ftp"), "unknown-word", &at("scheme")),
        (&redirect("hostname: \"*.a.com\""), "hostname", &at("hostname")),
        (&redirect("hostname: 10.0.0.7"), "hostname", &at("hostname")),
        (&redirect("port: 65536"), "out-of-range", &at("port")),
    ]);
    for status in [301, 302, 303, 307, 308] {
        let rules = http(&format!("[{{{}}}]", redirect(&format!("statusCode: {status}"))));
        assert!(matches!(&rules[0].action, ActionDraft::Redirect(one) if one.status == status));
    }
}

#[test]
fn a_rule_and_its_backends_have_one_filter_cors_between_them() {
    let cors = "filters: [{type: CORS, cors: {allowOrigins: [\"*\"]}}]";
    let share = format!("backendRefs: [{{name: m, port: 80, {cors}}}]");
    each(&[(&format!("{cors}, {share}"), "filter", "backendRefs")]);
    http(&format!("[{{{share}}}]"));
}

#[test]
fn what_a_redirect_leaves_without_effect_is_told_of() {
    const MIRROR: &str = "{type: RequestMirror, requestMirror: {backendRef: {name: m, port: 80}}}";
    const EDIT: &str = "{type: RequestHeaderModifier, requestHeaderModifier: {remove: [x-a]}}";
    const REDIRECT: &str = "{type: RequestRedirect, requestRedirect: {hostname: a.com}}";
    for (rule, paths) in [
        (format!("filters: [{REDIRECT}, {MIRROR}, {EDIT}]"), &["filters", "filters"][..]),
        (format!("filters: [{REDIRECT}], timeouts: {{request: 1s}}, retry: {{}}"), &["timeouts", "retry"]),
        (
            format!("backendRefs: [{{name: m, port: 80, filters: [{REDIRECT}, {EDIT}]}}]"),
            &["backendRefs[0].filters"],
        ),
    ] {
        let (_, found) = read("HTTPRoute", &format!("{{rules: [{{{rule}}}]}}"));
        let wanted: Vec<_> =
            paths.iter().map(|path| (Severity::Warning, "never-acts", format!("rules[0].{path}"))).collect();
        assert_eq!(found, wanted, "{rule}");
    }
}

#[test]
fn a_prefix_is_replaced_only_where_the_one_match_is_a_prefix() {
    let rewrite =
        "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}";
    let redirect = "{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}";
    for matches in [
        "[{path: {type: Exact, value: /a}}]",
        "[{path: {type: RegularExpression, value: /a}}]",
        "[{path: {value: /a}}, {path: {value: /b}}]",
    ] {
        let keys = |rest: &str| format!("matches: {matches}, {rest}");
        each(&[
            (&keys(&format!("filters: [{rewrite}], {BACKEND}")), "rewrite", "filters[0].urlRewrite.path"),
            (&keys(&format!("filters: [{redirect}]")), "rewrite", "filters[0].requestRedirect.path"),
            (
                &keys(&format!("backendRefs: [{{name: m, port: 80, filters: [{rewrite}]}}]")),
                "rewrite",
                "backendRefs[0].filters[0].urlRewrite.path",
            ),
        ]);
    }
    for matches in ["", "matches: [{headers: [{name: a, value: b}]}], ", "matches: [{path: {value: /a}}], "] {
        http(&format!("[{{{matches}filters: [{rewrite}], {BACKEND}}}]"));
    }
}

#[test]
fn a_paths_replacement_fits_its_type_and_is_a_path() {
    let rewrite =
        |path: &str| format!("filters: [{{type: URLRewrite, urlRewrite: {{path: {{{path}}}}}}}], {BACKEND}");
    let at = |rest: &str| format!("filters[0].urlRewrite.path{rest}");
    each(&[
        (&rewrite("type: ReplaceFullPath"), "missing", &at("")),
        (&rewrite("type: ReplacePrefixMatch"), "missing", &at("")),
        (&rewrite("type: ReplaceFullPath, replacePrefixMatch: /a"), "rewrite", &at(".replacePrefixMatch")),
        (&rewrite("type: ReplacePrefixMatch, replaceFullPath: /a"), "rewrite", &at(".replaceFullPath")),
        (&rewrite("replaceFullPath: /a"), "missing", &at("")),
        (&rewrite("type: Regex"), "unknown-word", &at(".type")),
        (&rewrite("type: ReplaceFullPath, replaceFullPath: a"), "rewrite", &at(".replaceFullPath")),
        (&rewrite("type: ReplaceFullPath, replaceFullPath: \"\""), "rewrite", &at(".replaceFullPath")),
        (
            &rewrite("type: ReplacePrefixMatch, replacePrefixMatch: /a?b"),
            "rewrite",
            &at(".replacePrefixMatch"),
        ),
    ]);
}

#[test]
fn a_mirror_has_a_percent_or_a_fraction_of_at_most_one() {
    let mirror =
        |keys: &str| format!("filters: [{{type: RequestMirror, requestMirror: {{{keys}}}}}], {BACKEND}");
    let to = "backendRef: {name: m, port: 80}";
    let at = |rest: &str| format!("filters[0].requestMirror{rest}");
    each(&[
        (&mirror("percent: 5"), "missing", &at("")),
        (&mirror(&format!("{to}, percent: 5, fraction: {{numerator: 1}}")), "mirror", &at(".percent")),
        (&mirror(&format!("{to}, percent: 101")), "percent", &at(".percent")),
        (&mirror(&format!("{to}, fraction: {{numerator: 101}}")), "fraction", &at(".fraction.numerator")),
        (
            &mirror(&format!("{to}, fraction: {{numerator: 1, denominator: 0}}")),
            "fraction",
            &at(".fraction.denominator"),
        ),
        (&mirror(&format!("{to}, fraction: {{denominator: 7}}")), "missing", &at(".fraction")),
        (&mirror("backendRef: {name: m, port: 80, weight: 1}"), "unknown-key", &at(".backendRef.weight")),
    ]);
}

#[test]
fn a_cors_filter_has_origins_with_schemes_and_a_star_alone() {
    let cors =
        |keys: &str| format!("filters: [{{type: CORS, cors: {{allowOrigins: [\"*\"], {keys}}}}}], {BACKEND}");
    let origins =
        |list: &str| format!("filters: [{{type: CORS, cors: {{allowOrigins: [{list}]}}}}], {BACKEND}");
    let at = |rest: &str| format!("filters[0].cors.{rest}");
    each(&[
        (&origins("\"*\", \"https://a.com\""), "cors", &at("allowOrigins")),
        (&origins("example.com"), "cors", &at("allowOrigins[0]")),
        (&origins("\"ftp://example.com\""), "cors", &at("allowOrigins[0]")),
        (&origins("\"https://a.*.com\""), "cors", &at("allowOrigins[0]")),
        (&origins("\"https://a.com\", \"https://a.com\""), "repeated", &at("allowOrigins")),
        (&cors("allowMethods: [\"*\", GET]"), "cors", &at("allowMethods")),
        (&cors("allowMethods: [get]"), "unknown-word", &at("allowMethods[0]")),
        (&cors("allowHeaders: [\"*\", a]"), "cors", &at("allowHeaders")),
        (&cors("allowHeaders: [\"a b\"]"), "header-name", &at("allowHeaders[0]")),
        (&cors("exposeHeaders: [\"*\", a]"), "cors", &at("exposeHeaders")),
        (&cors("maxAge: 0"), "cors", &at("maxAge")),
        (&origins(&many(65, "\"https://a%.com\"")), "too-many", &at("allowOrigins")),
    ]);
}
