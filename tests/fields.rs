//! The tables of fields are true: what is said to be supported loads, what is said to be refused is refused under its own
//! path, and no key that a reader knows is missing. `docs/fields.md` is made of them.
//!
//! `WEIR_REGENERATE=1 cargo test --test fields` rewrites the document.

#![allow(clippy::expect_used, clippy::unwrap_used)] // a panic here is the report

#[path = "fields/shown.rs"]
mod shown;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use shown::SHOWN;
use syn::visit::Visit;
use weir::config::fields::{FieldRow, Support, of_each_kind};
use weir::config::{self, Diagnostics, Document};

/// The smallest object of a kind: its `apiVersion` and its `spec`.
fn smallest(kind: &str) -> (&'static str, Value) {
    let breaker = json!({"simpleCb": {"sleepWindow": "30s", "httpDetectionInterval": "10s"}});
    match kind {
        "RouteRule" => ("config.istio.io/v1alpha2", json!({"destination": {"name": "inception"}})),
        "DestinationPolicy" => (
            "config.istio.io/v1alpha2",
            json!({"destination": {"name": "inception"}, "circuitBreaker": breaker}),
        ),
        "VirtualService" => (
            "networking.istio.io/v1",
            json!({"hosts": ["inception"], "http": [{"route": [{"destination": {"host": "inception"}}]}]}),
        ),
        "DestinationRule" => ("networking.istio.io/v1", json!({"host": "inception"})),
        "HTTPRoute" | "GRPCRoute" => (
            "gateway.networking.k8s.io/v1",
            json!({
                "parentRefs": [{"group": "", "kind": "Service", "name": "inception"}],
                "rules": [{"backendRefs": [{"name": "inception-v1", "port": 8500}]}],
            }),
        ),
        _ => panic!("{kind} has no smallest object here"),
    }
}

/// What else has to be said for a field: the end of a path, and what is laid over the smallest object's `spec`; `null` takes
/// a key away.
fn needs(kind: &str, path: &str) -> Vec<Value> {
    let within = |part: &str| path.starts_with(part);
    let mut all = Vec::new();
    match kind {
        "RouteRule" => {
            if within("spec.destination.service") {
                all.push(json!({"destination": {"name": null}}));
            }
            if within("spec.route[].destination") {
                all.push(json!({"route": [{}]}));
            }
            if within("spec.httpReqRetries.simpleRetry.") {
                all.push(json!({"httpReqRetries": {"simpleRetry": {"perTryTimeout": "1s"}}}));
            }
            if within("spec.httpReqTimeout.simpleTimeout.") {
                all.push(json!({"httpReqTimeout": {"simpleTimeout": {"timeout": "1s"}}}));
            }
            if within("spec.httpFault.delay.") {
                all.push(json!({"httpFault": {"delay": {"percent": 1, "fixedDelay": "1s"}}}));
            }
            if within("spec.httpFault.abort.") {
                all.push(json!({"httpFault": {"abort": {"percent": 1, "httpStatus": 503}}}));
            }
            if within("spec.httpFault.abort.http2Error") {
                all.push(json!({"httpFault": {"abort": {"httpStatus": null}}}));
            }
            if within("spec.route[].weight") {
                all.push(json!({"route": [{}, {"labels": {"version": "v2"}, "weight": 5}]}));
            }
        }
        "VirtualService" => {
            if within("spec.http[].redirect") || within("spec.http[].directResponse") {
                all.push(json!({"http": [{"route": null}]}));
            }
            if within("spec.http[].redirect.") {
                all.push(json!({"http": [{"redirect": {"authority": "models.example.com"}}]}));
            }
            if within("spec.http[].directResponse.") {
                all.push(json!({"http": [{"directResponse": {"status": 503}}]}));
            }
            if within("spec.http[].match[].ignoreUriCase") {
                all.push(json!({"http": [{"match": [{"uri": {"exact": "/a"}}]}]}));
            }
            if within("spec.http[].rewrite.uriRegexRewrite.") {
                all.push(json!({"http": [{"rewrite": {"uriRegexRewrite": {"match": "/(a)"}}}]}));
            }
            if within("spec.http[].retries.") {
                all.push(json!({"http": [{"retries": {"attempts": 2}}]}));
            }
            if within("spec.http[].fault.delay.") {
                all.push(
                    json!({"http": [{"fault": {"delay": {"fixedDelay": "1s", "percentage": {"value": 1}}}}]}),
                );
            }
            if within("spec.http[].fault.delay.percent") && !path.ends_with("age") {
                all.push(json!({"http": [{"fault": {"delay": {"percentage": null}}}]}));
            }
            if within("spec.http[].fault.abort.") {
                all.push(json!({"http": [{"fault": {"abort": {"httpStatus": 500}}}]}));
            }
            if within("spec.http[].fault.abort.grpcStatus") {
                all.push(json!({"http": [{"fault": {"abort": {"httpStatus": null}}}]}));
            }
            if within("spec.http[].mirrorPercent") {
                all.push(json!({"http": [{"mirror": {"host": "inception"}}]}));
            }
            if within("spec.http[].mirrors[]") {
                all.push(json!({"http": [{"mirrors": [{"destination": {"host": "inception"}}]}]}));
            }
        }
        "DestinationRule" => {
            let hash = "spec.trafficPolicy.loadBalancer.consistentHash.";
            if within(hash) && ["ringHash", "maglev", "minimumRingSize"].iter().any(|end| path.contains(end))
            {
                all.push(
                    json!({"trafficPolicy": {"loadBalancer": {"consistentHash": {"useSourceIp": true}}}}),
                );
            }
            if within(&format!("{hash}httpCookie.")) {
                let cookie = json!({"name": "id", "ttl": "0s"});
                all.push(
                    json!({"trafficPolicy": {"loadBalancer": {"consistentHash": {"httpCookie": cookie}}}}),
                );
            }
            if within(&format!("{hash}httpCookie.attributes[].")) {
                let cookie = json!({"attributes": [{"name": "SameSite"}]});
                all.push(
                    json!({"trafficPolicy": {"loadBalancer": {"consistentHash": {"httpCookie": cookie}}}}),
                );
            }
            if within("spec.trafficPolicy.loadBalancer.warmup") {
                all.push(json!({"trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN"}}}));
            }
            if within("spec.trafficPolicy.loadBalancer.warmup.") {
                all.push(json!({"trafficPolicy": {"loadBalancer": {"warmup": {"duration": "1s"}}}}));
            }
            if path.ends_with("consecutiveLocalOriginFailures") {
                all.push(
                    json!({"trafficPolicy": {"outlierDetection": {"splitExternalLocalOriginErrors": true}}}),
                );
            }
            if within("spec.trafficPolicy.portLevelSettings[].") {
                all.push(json!({"trafficPolicy": {"portLevelSettings": [{"port": {"number": 8500}}]}}));
            }
            if within("spec.subsets[].") {
                all.push(json!({"subsets": [{"name": "v1"}]}));
            }
        }
        _ => of_gateway_api(kind, path, &mut all),
    }
    all
}

fn of_gateway_api(kind: &str, path: &str, all: &mut Vec<Value>) {
    let within = |part: &str| path.starts_with(part);
    if path.ends_with("parentRefs[].group") {
        all.push(json!({"parentRefs": [{"kind": null}]}));
    }
    if path.ends_with("parentRefs[].sectionName")
        || path.ends_with("parentRefs[].port")
        || within("spec.hostnames")
    {
        all.push(json!({"parentRefs": [{"group": null, "kind": null, "name": "models"}]}));
    }
    if within("spec.rules[].matches[].") && (path.contains(".headers[].") || path.contains(".queryParams[]."))
    {
        let list = if path.contains(".headers") { "headers" } else { "queryParams" };
        all.push(json!({"rules": [{"matches": [{list: [{"name": "x-a", "value": "b"}]}]}]}));
    }
    if kind == "GRPCRoute" && within("spec.rules[].matches[].method.") {
        all.push(json!({"rules": [{"matches": [{"method": {"service": "a.B"}}]}]}));
    }
    let Some((before, filter)) = path.split_once(".filters[].") else { return };
    let Some((_, (name, kind_of))) = [
        ("requestHeaderModifier", "RequestHeaderModifier"),
        ("responseHeaderModifier", "ResponseHeaderModifier"),
        ("requestMirror", "RequestMirror"),
        ("requestRedirect", "RequestRedirect"),
        ("urlRewrite", "URLRewrite"),
        ("cors", "CORS"),
    ]
    .into_iter()
    .enumerate()
    .find(|(_, (name, _))| filter.starts_with(name) || filter == "type") else {
        return;
    };
    let body = match name {
        "requestMirror" => json!({"backendRef": {"name": "inception-v2", "port": 8500}}),
        "requestHeaderModifier" if filter == "type" => json!({"remove": ["x-a"]}),
        _ => json!({}),
    };
    let mut body = body;
    if filter.ends_with("path.type") {
        body["path"] = json!({"replaceFullPath": "/a"});
    }
    for (end, word) in [("replaceFullPath", "ReplaceFullPath"), ("replacePrefixMatch", "ReplacePrefixMatch")]
    {
        if filter.ends_with(end) {
            body["path"] = json!({"type": word});
        }
    }
    if filter.ends_with("fraction.denominator") {
        body["fraction"] = json!({"numerator": 1});
    }
    if name == "cors" && filter.starts_with("cors.") {
        body["allowOrigins"] = json!(["http://a.example"]);
    }
    let filter = json!([{"type": kind_of, name: body}]);
    all.push(match before.ends_with("backendRefs[]") {
        true => json!({"rules": [{"backendRefs": [{"filters": filter}]}]}),
        false => json!({"rules": [{"filters": filter}]}),
    });
    if name == "requestRedirect" && !before.ends_with("backendRefs[]") {
        all.push(json!({"rules": [{"backendRefs": null}]}));
    }
}

/// `over` on `base`, entries of lists by their place.
fn lay(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                match value {
                    Value::Null => drop(base.shift_remove(key)),
                    value => lay(base.entry(key.clone()).or_insert(Value::Null), value),
                }
            }
        }
        (Value::Array(base), Value::Array(over)) => {
            for (place, value) in over.iter().enumerate() {
                if base.len() <= place {
                    base.push(Value::Null);
                }
                lay(&mut base[place], value);
            }
        }
        (base, over) => {
            *base = match over {
                Value::Object(_) => json!({}),
                Value::Array(_) => json!([]),
                other => return *base = other.clone(),
            };
            lay(base, over);
        }
    }
}

const MARK: &str = "the sample stands here";

/// An object with the row's sample in its place: the field, and what has to stand beside it.
fn with_sample(kind: &str, row: &FieldRow) -> String {
    let (api_version, mut spec) = smallest(kind);
    needs(kind, row.path).iter().for_each(|over| lay(&mut spec, over));
    let mut object =
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "sample"}, "spec": spec});
    let mut place = &mut object;
    let path = row.path.trim_end_matches("[]");
    let (parents, last) = path.rsplit_once('.').expect("a path");
    for part in parents.split('.') {
        let (key, is_list) = part.strip_suffix("[]").map_or((part, false), |key| (key, true));
        if !place.is_object() {
            *place = json!({});
        }
        place = place.as_object_mut().expect("an object").entry(key.to_owned()).or_insert(Value::Null);
        if is_list {
            if !place.is_array() {
                *place = json!([{}]);
            }
            place = &mut place.as_array_mut().expect("a list")[0];
        }
    }
    if !place.is_object() {
        *place = json!({});
    }
    let parent = place.as_object_mut().expect("an object");
    let pairs = pairs(row.sample);
    for (number, (key, _)) in pairs.iter().enumerate() {
        // The test of a name that nobody knows gives another one than the sample.
        let key = if number == 0 { last } else { key };
        parent.insert(key.to_owned(), json!(format!("{MARK} {number}")));
    }
    let marked = |text: String, (number, (_, value)): (usize, &(&str, &str))| {
        text.replace(&format!("\"{MARK} {number}\""), value)
    };
    pairs.iter().enumerate().fold(object.to_string(), marked)
}

/// `key: value, key: value` of YAML's flow style.
fn pairs(sample: &str) -> Vec<(&str, &str)> {
    let (mut depth, mut quoted, mut start) = (0, false, 0);
    let mut all = Vec::new();
    for (at, c) in sample.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                all.push(&sample[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    all.push(&sample[start..]);
    all.into_iter().map(|text| text.trim().split_once(": ").unwrap_or_else(|| panic!("{sample}"))).collect()
}

fn checked(text: &str) -> Result<Diagnostics, Diagnostics> {
    let rules = [Document { name: "sample.yaml".into(), bytes: text.into() }];
    config::validate_rules(&rules).map(|(_, warnings)| warnings)
}

#[test]
fn every_supported_field_loads_and_every_refused_one_is_refused_under_its_path() {
    let mut wrong = String::new();
    for (kind, rows) in of_each_kind() {
        for row in rows {
            let text = with_sample(kind, row);
            let at = row.path.trim_end_matches("[]").replace("[]", "[0]");
            let found = checked(&text);
            let right = match (row.is, &found) {
                (Support::Supported, Ok(_)) | (Support::Inert, Ok(_)) => true,
                (Support::Refused, Err(found)) => found.iter().any(|one| match one.code {
                    "not-supported" => one.path.starts_with(&at),
                    // Istio's check 6, with a code of its own and told of the reference as a whole.
                    "destination-labels" => at.starts_with(&one.path),
                    _ => false,
                }),
                _ => false,
            };
            if !right {
                let told = found.map_or_else(|found| found.to_string(), |warnings| warnings.to_string());
                let _ = writeln!(wrong, "{kind} {} is not {:?}:\n  {text}\n  {told}", row.path, row.is);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_supported_field_is_read_where_the_table_says() {
    // One letter more makes it another field, which nobody knows.
    let mut wrong = String::new();
    for (kind, rows) in of_each_kind() {
        for row in rows.iter().filter(|row| row.is == Support::Supported) {
            let free = ["request.headers.", ".labels"].iter().any(|part| row.path.contains(part));
            let path = row.path.trim_end_matches("[]");
            if free {
                continue;
            }
            let other = FieldRow { path: format!("{path}x").leak(), ..*row };
            if let Ok(found) = checked(&with_sample(kind, &other)) {
                let _ = writeln!(wrong, "{kind} {}: {found}", other.path);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The strings of every `Keys` in a source file, tests apart.
#[derive(Default)]
struct KeysIn(BTreeSet<String>);

impl<'ast> Visit<'ast> for KeysIn {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.ident != "tests" {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_expr_struct(&mut self, item: &'ast syn::ExprStruct) {
        if item.path.segments.last().is_some_and(|last| last.ident == "Keys") {
            for field in &item.fields {
                Strings(&mut self.0).visit_expr(&field.expr);
            }
        }
        syn::visit::visit_expr_struct(self, item);
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let syn::Expr::Path(path) = &*call.func
            && path.path.segments.iter().any(|part| part.ident == "Keys")
        {
            call.args.iter().for_each(|one| Strings(&mut self.0).visit_expr(one));
        }
        syn::visit::visit_expr_call(self, call);
    }
}

/// Strings that may be keys: reasons hold spaces.
struct Strings<'s>(&'s mut BTreeSet<String>);

impl<'ast> Visit<'ast> for Strings<'_> {
    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        if !text.value().contains(' ') {
            self.0.insert(text.value());
        }
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => sources(&path, found),
            false if path.extension().is_some_and(|end| end == "rs") => found.push(path),
            false => {}
        }
    }
}

#[test]
fn no_key_that_a_reader_knows_is_missing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config");
    let kinds: [(&str, &[&str]); 5] = [
        ("route_rule", &["RouteRule", "DestinationPolicy"]),
        ("destination_policy", &["DestinationPolicy"]),
        ("virtual_service", &["VirtualService"]),
        ("destination_rule", &["DestinationRule"]),
        ("gateway_api", &["HTTPRoute", "GRPCRoute"]),
    ];
    let mut missing = Vec::new();
    for (folder, of) in kinds {
        let rows =
            of_each_kind().into_iter().filter(|(kind, _)| of.contains(kind)).flat_map(|(_, rows)| rows);
        let told: BTreeSet<String> = rows
            .flat_map(|row| {
                let told = format!("{} {} {}", row.path.replace("[]", ""), row.sample, row.note);
                let words = told.split_terminator(|c: char| !c.is_ascii_alphanumeric());
                words.map(str::to_owned).collect::<Vec<_>>()
            })
            .collect();
        let mut files = Vec::new();
        sources(&root.join(folder), &mut files);
        let mut known = KeysIn::default();
        for file in files.iter().filter(|file| {
            !file.ends_with("tests.rs") && !file.components().any(|part| part.as_os_str() == "tests")
        }) {
            let text = fs::read_to_string(file).expect("a source");
            known.visit_file(&syn::parse_file(&text).expect("is Rust"));
        }
        assert!(known.0.len() >= 3, "{folder}: {:?}", known.0);
        missing.extend(known.0.difference(&told).map(|key| format!("{folder}: {key}")));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_supported_field_has_a_test_that_shows_it() {
    let mut wrong = Vec::new();
    let mut shown = BTreeSet::new();
    for one in SHOWN {
        let (file, function) = one.test.split_once("::").expect("a file and a function");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file).with_extension("rs");
        let text = fs::read_to_string(&path).unwrap_or_default();
        if !text.contains(&format!("#[test]\nfn {function}() {{")) {
            wrong.push(format!("there is no test {}", one.test));
        }
        for end in one.ends {
            let path = format!("{} {}{end}", one.kind, one.stem);
            if !shown.insert(path.clone()) {
                wrong.push(format!("{path} stands twice"));
            }
        }
    }
    let of_kind = |(kind, rows): (&'static str, &'static [FieldRow])| {
        let supported = rows.iter().filter(|row| row.is == Support::Supported);
        supported.map(move |row| format!("{kind} {}", row.path))
    };
    let supported: BTreeSet<_> = of_each_kind().into_iter().flat_map(of_kind).collect();
    wrong.extend(supported.difference(&shown).map(|path| format!("{path} has no test")));
    wrong.extend(shown.difference(&supported).map(|path| format!("{path} is no supported field")));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_document_says_what_the_tables_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fields.md");
    let text = document();
    if std::env::var_os("WEIR_REGENERATE").is_some() {
        fs::write(&path, &text).expect("written");
    }
    similar_asserts::assert_eq!(fs::read_to_string(&path).unwrap_or_default(), text);
}

fn document() -> String {
    let mut text = String::from(
        "# Fields\n\n\
         Every field of every kind that may stand in a rule file. What is *refused* is refused by name, with file, line,\n\
         field and reason, code `not-supported` ([diagnostics.md](diagnostics.md)); what is *inert* is read and changes\n\
         nothing. A field that does not stand here is refused as unknown. What the fields do, and where documents and\n\
         behaviour differ: [routing.md](routing.md). Made by `tests/fields.rs`, which tries each row.\n",
    );
    for (kind, rows) in of_each_kind() {
        let _ = write!(text, "\n## {kind}\n\n| field | | for example | |\n|---|---|---|---|\n");
        for row in rows {
            let is = match row.is {
                Support::Supported => "supported",
                Support::Refused => "refused",
                Support::Inert => "inert",
            };
            let cell = |text: &str| text.replace('|', "\\|");
            let _ = writeln!(text, "| `{}` | {is} | `{}` | {} |", row.path, cell(row.sample), cell(row.note));
        }
    }
    text
}
