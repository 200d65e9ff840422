//! Faults that are injected.

use super::{Scene, ask, call, get, post, scene};

pub(in super::super) fn faults() -> Vec<Scene> {
    vec![
        scene(
            "abort of all",
            "fault: {abort: {httpStatus: 418, percentage: {value: 100}}}, headers: {response: {set: {x-a: b}}}",
            "response_headers_to_add: [{header: {key: x-a, value: b}}], typed_per_filter_config: \
             {envoy.filters.http.fault: {@TYPE(fault.v3.HTTPFault), abort: {http_status: 418, percentage: {numerator: \
             100}}}}",
            vec![get("/"), ask("HEAD", "/"), post("/", "body"), call()],
        ),
        scene(
            "abort of 503",
            "fault: {abort: {httpStatus: 503, percentage: {value: 100}}}, retries: {attempts: 2, retryOn: 5xx}",
            "route: {cluster: \"@UP\", retry_policy: {retry_on: 5xx, num_retries: 2}}, typed_per_filter_config: \
             {envoy.filters.http.fault: {@TYPE(fault.v3.HTTPFault), abort: {http_status: 503, percentage: {numerator: \
             100}}}}",
            vec![get("/"), call()],
        ),
        scene(
            "abort of none",
            "fault: {abort: {httpStatus: 418, percentage: {value: 0}}}",
            "typed_per_filter_config: {envoy.filters.http.fault: {@TYPE(fault.v3.HTTPFault), abort: {http_status: \
             418, percentage: {numerator: 0}}}}",
            vec![get("/"), call().does("message-0")],
        ),
        scene(
            "abort by a status of gRPC",
            "fault: {abort: {grpcStatus: RESOURCE_EXHAUSTED, percentage: {value: 100}}}",
            "typed_per_filter_config: {envoy.filters.http.fault: {@TYPE(fault.v3.HTTPFault), abort: {grpc_status: 8, \
             percentage: {numerator: 100}}}}",
            vec![get("/"), call()],
        ),
        scene(
            "delay of all",
            "fault: {delay: {fixedDelay: 20ms, percentage: {value: 100}}}",
            "typed_per_filter_config: {envoy.filters.http.fault: {@TYPE(fault.v3.HTTPFault), delay: {fixed_delay: \
             0.02s, percentage: {numerator: 100}}}}",
            vec![get("/"), post("/", "body"), get("/").does("503"), call().does("message-0")],
        ),
        scene(
            "delay of none",
            "fault: {delay: {fixedDelay: 3600s, percentage: {value: 0}}}",
            "typed_per_filter_config: {envoy.filters.http.fault: {@TYPE(fault.v3.HTTPFault), delay: {fixed_delay: \
             3600s, percentage: {numerator: 0}}}}",
            vec![get("/")],
        ),
        scene(
            "delay and abort",
            "fault: {delay: {fixedDelay: 20ms, percentage: {value: 100}}, abort: {httpStatus: 500, percentage: \
             {value: 100}}}",
            "typed_per_filter_config: {envoy.filters.http.fault: {@TYPE(fault.v3.HTTPFault), delay: {fixed_delay: \
             0.02s, percentage: {numerator: 100}}, abort: {http_status: 500, percentage: {numerator: 100}}}}",
            vec![get("/"), post("/", "body"), call()],
        ),
        scene(
            "delay before a timeout",
            "timeout: 100ms, fault: {delay: {fixedDelay: 200ms, percentage: {value: 100}}}",
            "route: {cluster: \"@UP\", timeout: 0.1s}, typed_per_filter_config: {envoy.filters.http.fault: \
             {@TYPE(fault.v3.HTTPFault), delay: {fixed_delay: 0.2s, percentage: {numerator: 100}}}}",
            vec![get("/").does("hang")],
        ),
        scene(
            "delay before retries",
            "route: [{destination: {host: refused}}], retries: {attempts: 1, backoff: 1ms, retryOn: connect-failure}, \
             fault: {delay: {fixedDelay: 20ms, percentage: {value: 100}}}",
            "route: {cluster: refused, retry_policy: {retry_on: connect-failure, num_retries: 1}}, \
             typed_per_filter_config: {envoy.filters.http.fault: {@TYPE(fault.v3.HTTPFault), delay: {fixed_delay: \
             0.02s, percentage: {numerator: 100}}}}",
            vec![get("/")],
        ),
        scene(
            "delay without an upstream",
            "route: [{destination: {host: none}}], fault: {delay: {fixedDelay: 20ms, percentage: {value: 100}}}",
            "route: {cluster: none}, typed_per_filter_config: {envoy.filters.http.fault: \
             {@TYPE(fault.v3.HTTPFault), delay: {fixed_delay: 0.02s, percentage: {numerator: 100}}}}",
            vec![get("/")],
        ),
    ]
}

/// One route with all that is done to a part of the requests.
pub(in super::super) fn shares() -> Vec<Scene> {
    vec![scene(
        "shares",
        "fault: {abort: {httpStatus: 418, percentage: {value: 30}}, delay: {fixedDelay: 1ms, percentage: {value: \
         20}}}, mirror: {host: shadow}, mirrorPercentage: {value: 12.5}",
        "route: {cluster: \"@UP\", timeout: 0s, request_mirror_policies: [{cluster: shadow, runtime_fraction: \
         {default_value: {numerator: 1250, denominator: TEN_THOUSAND}}}]}, typed_per_filter_config: \
         {envoy.filters.http.fault: {@TYPE(fault.v3.HTTPFault), abort: {http_status: 418, percentage: {numerator: \
         30}}, delay: {fixed_delay: 0.001s, percentage: {numerator: 20}}}}",
        Vec::new(),
    )]
}
