//! Retries under each condition, with the attempts that came upstream, and timeouts.

use super::{Ask, Http, Scene, call, get, http_route, post, scene};

pub(in super::super) fn attempts() -> Vec<Scene> {
    [without_policy(), conditions(), of_grpc(), endings(), timeouts()].into_iter().flatten().collect()
}

/// What an upstream can do to a request, whatever the condition.
fn deeds() -> Vec<Ask> {
    vec![
        get("/").does("500,200"),
        get("/").does("502,200"),
        post("/", "body").does("503,200"),
        get("/").does("504,200"),
        get("/").does("409,200"),
        get("/").does("429,200"),
        get("/").does("429,200").emits("x-envoy-ratelimited=true"),
        get("/").does("404,200").emits("x-again=1"),
        post("/", "body").does("close,200"),
        post("/", "body").does("garbage,200").only(Http::One),
        post("/", "body").does("reset,200").only(Http::Two),
        post("/", "body").does("refuse,200").only(Http::Two),
    ]
}

fn without_policy() -> Vec<Scene> {
    let asks = deeds().into_iter().chain([get("/").does("cut,200")]).collect();
    vec![scene("no retries", "timeout: 0s, retries: {attempts: 0}", "", asks)]
}

/// A retry on each condition, with a name that begins so, tried with the same requests.
macro_rules! on {
    ($name:literal, $asks:ident, [$($condition:literal),*]) => {
        vec![$(scene(
            concat!($name, $condition),
            concat!("timeout: 0s, retries: {attempts: 1, backoff: 1ms, retryOn: \"", $condition, "\"}"),
            concat!(
                "route: {cluster: \"@UP\", timeout: 0s, retry_policy: {num_retries: 1, retry_back_off: \
                 {base_interval: 0.001s}, retry_on: \"", $condition, "\"}}"
            ),
            $asks(),
        )),*]
    };
}

fn conditions() -> Vec<Scene> {
    let mut scenes = on!(
        "retry on ",
        deeds,
        [
            "5xx",
            "gateway-error",
            "reset",
            "reset-before-request",
            "connect-failure",
            "refused-stream",
            "retriable-4xx",
            "envoy-ratelimited"
        ]
    );
    scenes.push(scene(
        "retry on statuses",
        "timeout: 0s, retries: {attempts: 1, backoff: 1ms, retryOn: \"404,429\"}",
        "route: {cluster: \"@UP\", timeout: 0s, retry_policy: {num_retries: 1, retry_back_off: {base_interval: \
         0.001s}, retry_on: retriable-status-codes, retriable_status_codes: [404, 429]}}",
        deeds(),
    ));
    scenes.push(http_route(
        "retry on the codes of an HTTPRoute",
        "retry: {codes: [404, 503], attempts: 1, backoff: 1ms}",
        "route: {cluster: \"@UP\", timeout: 0s, retry_policy: {num_retries: 1, retry_back_off: {base_interval: \
         0.001s}, retry_on: \"retriable-status-codes,connect-failure,refused-stream\", retriable_status_codes: [404, 503]}}",
        deeds(),
    ));
    scenes
}

fn of_grpc() -> Vec<Scene> {
    let calls = || {
        let deeds = [
            "grpc-1,message-0",
            "grpc-4,message-0",
            "grpc-8,message-0",
            "grpc-13,message-0",
            "grpc-14,message-0",
            "grpc-5,message-0",
            "trailers-14,message-0",
            "message-14,message-0",
            "503,message-0",
            "close,message-0",
            "refuse,message-0",
        ];
        deeds.into_iter().map(|deeds| call().does(deeds)).collect::<Vec<_>>()
    };
    on!(
        "retry of a call on ",
        calls,
        ["cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable", "5xx"]
    )
}

/// How often, and what is told when it was in vain.
fn endings() -> Vec<Scene> {
    vec![
        scene(
            "three retries",
            "timeout: 0s, retries: {attempts: 3, backoff: 1ms, retryOn: \"5xx,connect-failure,reset\"}",
            "route: {cluster: \"@UP\", timeout: 0s, retry_policy: {num_retries: 3, retry_back_off: {base_interval: \
             0.001s}, retry_on: \"5xx,connect-failure,reset\"}}",
            vec![
                get("/").does("500,502,503,200"),
                post("/", "body").does("500,502,503,504"),
                get("/").does("close"),
                get("/").does("close,close,200"),
                get("/").does("503,404"),
                get("/").does("cut,200"),
                get("/").does("reset").only(Http::Two),
                get("/").does("refuse").only(Http::Two),
                get("/").does("garbage").only(Http::One),
                call().does("grpc-14"),
                call().does("503"),
                call().does("close"),
            ],
        ),
        scene(
            "retries without a connection",
            "timeout: 0s, route: [{destination: {host: refused}}], retries: {attempts: 2, backoff: 1ms, retryOn: \
             connect-failure}",
            "route: {cluster: refused, timeout: 0s, retry_policy: {num_retries: 2, retry_back_off: {base_interval: \
             0.001s}, retry_on: connect-failure}}",
            vec![get("/"), post("/", "body"), call()],
        ),
        scene(
            "retries without an endpoint",
            "timeout: 0s, route: [{destination: {host: none}}], retries: {attempts: 2, backoff: 1ms, retryOn: 5xx}",
            "route: {cluster: none, timeout: 0s, retry_policy: {num_retries: 2, retry_back_off: {base_interval: \
             0.001s}, retry_on: 5xx}}",
            vec![get("/"), call()],
        ),
    ]
}

/// What an internal caller asks for, of a route with two retries and of one without.
pub(in super::super) fn asked_for() -> Vec<Scene> {
    let asks = || {
        let numbers =
            ["1", "3", "0", "many", "2,3", "1, 1", "1,", "1.5", "-1", "+3", "0x1", "", "4294967296"];
        let numbered = numbers.map(|number| {
            let ask = get("/").field("x-envoy-retry-on", "5xx").field("x-envoy-max-retries", number);
            ask.does("503,503,503,503,200")
        });
        let twice = get("/").field("x-envoy-retry-on", "5xx");
        let twice = twice.field("x-envoy-max-retries", "1").field("x-envoy-max-retries", "3");
        let mut asks = numbered.to_vec();
        asks.extend([
            twice.does("503,503,503,503,200"),
            get("/").field("x-envoy-max-retries", "1").does("503,503,503,503,200"),
            get("/").field("x-envoy-retry-on", "5xx").does("503,503,503,503,200"),
            get("/").field("x-envoy-retry-on", "gateway-error, nonsense,retriable-4xx").does("409,503,200"),
            get("/").field("x-envoy-retry-on", "nonsense").does("503,503,503,200"),
        ]);
        asks
    };
    vec![
        scene(
            "asked of two retries",
            "timeout: 0s, retries: {attempts: 2, backoff: 1ms, retryOn: gateway-error}",
            "route: {cluster: \"@UP\", timeout: 0s, retry_policy: {num_retries: 2, retry_back_off: {base_interval: \
             0.001s}, retry_on: gateway-error}}",
            asks(),
        ),
        scene("asked of none", "timeout: 0s", "route: {cluster: \"@UP\", timeout: 0s}", asks()),
    ]
}

fn timeouts() -> Vec<Scene> {
    vec![
        scene(
            "timeout",
            "timeout: 300ms",
            "route: {cluster: \"@UP\", timeout: 0.3s}",
            vec![
                get("/").does("hang"),
                post("/", "body").does("hang"),
                get("/").does("stall"),
                get("/"),
                call().does("hang"),
                call().does("message-0"),
            ],
        ),
        scene(
            "timeout of one attempt",
            "timeout: 0s, retries: {attempts: 2, perTryTimeout: 300ms, backoff: 1ms, retryOn: 5xx}",
            "route: {cluster: \"@UP\", timeout: 0s, retry_policy: {num_retries: 2, per_try_timeout: 0.3s, \
             retry_back_off: {base_interval: 0.001s}, retry_on: 5xx}}",
            vec![
                get("/").does("hang,200"),
                post("/", "body").does("hang,hang,200"),
                get("/").does("hang"),
                get("/").does("503,hang,200"),
                call().does("hang,message-0"),
                call().does("hang"),
            ],
        ),
        scene(
            "timeout of one attempt, not retried",
            "timeout: 0s, retries: {attempts: 2, perTryTimeout: 300ms, backoff: 1ms, retryOn: retriable-4xx}",
            "route: {cluster: \"@UP\", timeout: 0s, retry_policy: {num_retries: 2, per_try_timeout: 0.3s, \
             retry_back_off: {base_interval: 0.001s}, retry_on: retriable-4xx}}",
            vec![get("/").does("hang,200"), get("/").does("409,hang")],
        ),
        scene(
            "timeout of all attempts",
            "timeout: 1s, retries: {attempts: 5, perTryTimeout: 600ms, backoff: 1ms, retryOn: 5xx}",
            "route: {cluster: \"@UP\", timeout: 1s, retry_policy: {num_retries: 5, per_try_timeout: 0.6s, \
             retry_back_off: {base_interval: 0.001s, max_interval: 0.001s}, retry_on: 5xx}}",
            vec![get("/").does("hang"), call().does("hang")],
        ),
        http_route(
            "timeouts of an HTTPRoute",
            "timeouts: {request: 10s, backendRequest: 300ms}, retry: {codes: [503], attempts: 1, backoff: 1ms}",
            "route: {cluster: \"@UP\", timeout: 10s, retry_policy: {num_retries: 1, per_try_timeout: 0.3s, \
             retry_back_off: {base_interval: 0.001s}, retry_on: \"retriable-status-codes,connect-failure,reset,refused-stream\", \
             retriable_status_codes: [503, 504]}}",
            vec![get("/").does("hang,200"), get("/").does("503,200")],
        ),
        scene(
            "deadline of a call",
            "timeout: 0s",
            "route: {cluster: \"@UP\", timeout: 0s, max_stream_duration: {grpc_timeout_header_max: 0s}}",
            vec![
                call().field("grpc-timeout", "100m").does("hang"),
                call().field("grpc-timeout", "100S").does("message-0"),
                call().field("grpc-timeout", "soon").does("message-0"),
            ],
        ),
        scene(
            "timeout without an upstream",
            "timeout: 100ms, route: [{destination: {host: none}}]",
            "route: {cluster: none, timeout: 0.1s}",
            vec![get("/")],
        ),
    ]
}
