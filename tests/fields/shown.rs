//! For each field that is supported, the test that shows what it does over a running proxy, from the file to the wire.
//!
//! Law: a field stands here with its whole path, so that a new one is missed.

/// Fields of one kind that a test shows: `stem` and each of `ends` are a path.
pub(crate) struct Shown {
    pub(crate) kind: &'static str,
    pub(crate) stem: &'static str,
    pub(crate) ends: &'static [&'static str],
    /// The file in `tests/` and the function.
    pub(crate) test: &'static str,
}

/// One line of the table.
const fn by(
    test: &'static str,
    kind: &'static str,
    stem: &'static str,
    ends: &'static [&'static str],
) -> Shown {
    Shown { kind, stem, ends, test }
}

const RULE: &str = "RouteRule";
const POLICY: &str = "DestinationPolicy";
const VIRTUAL: &str = "VirtualService";
const DESTINATION: &str = "DestinationRule";
const ROUTE: &str = "HTTPRoute";
const CALLS: &str = "GRPCRoute";

const BREAKER: &str = "spec.circuitBreaker.simpleCb.";
const HASH: &str = "spec.trafficPolicy.loadBalancer.consistentHash.";
const OUTLIER: &str = "spec.trafficPolicy.outlierDetection.";
const TCP: &str = "spec.trafficPolicy.connectionPool.tcp.";
const HTTP: &str = "spec.trafficPolicy.connectionPool.http.";

#[rustfmt::skip]
pub(crate) const SHOWN: &[Shown] = &[
    by("dialect_destinations::a_route_rule_is_about_the_service_that_its_destination_names_in_any_form_and_about_no_other", RULE, "spec.destination.", &["name", "namespace", "domain", "service"]),
    by("proxy_routing::all_conditions_of_a_rule_must_hold_and_the_highest_precedence_that_matches_wins", RULE, "spec.", &["precedence"]),
    by("proxy_routing::a_source_is_who_the_callers_list_says_the_peer_is", RULE, "spec.match.", &["source"]),
    by("proxy_routing::each_kind_of_match_takes_exactly_what_it_says", RULE, "spec.match.request.headers", &["", ".uri", ".method", ".authority"]),
    by("proxy_routing::the_scheme_is_what_the_proxy_in_front_was_spoken_to_unless_nobody_is_believed", RULE, "spec.match.request.headers.", &["scheme"]),
    by("route_rule::a_share_may_be_of_another_service", RULE, "spec.route[].", &["destination"]),
    by("proxy_split::five_percent_of_a_thousand_requests_in_a_row_are_fifty", RULE, "spec.route[].", &["labels", "weight"]),
    by("route_rule_effects::a_redirect_changes_the_part_that_it_names_and_keeps_the_other", RULE, "spec.redirect.", &["uri", "authority"]),
    by("route_rule_effects::a_rewrite_takes_the_place_of_what_the_uri_matched_of_a_path", RULE, "spec.rewrite.", &["uri"]),
    by("route_rule_effects::a_rewrite_of_the_authority_leaves_the_path_of_requests_and_calls", RULE, "spec.rewrite.", &["authority"]),
    by("dialects_upgrade::each_dialect_lets_websocket_through_where_it_says_so", RULE, "spec.", &["websocketUpgrade"]),
    by("route_rule::a_request_that_takes_longer_than_its_timeout_gets_504", RULE, "spec.httpReqTimeout.simpleTimeout.", &["timeout"]),
    by("route_rule_effects::an_internal_caller_overrides_the_timeout_and_the_retries_by_the_fields_that_the_rule_names", RULE, "spec.", &["httpReqTimeout.simpleTimeout.overrideHeaderName", "httpReqRetries.simpleRetry.overrideHeaderName"]),
    by("route_rule::a_request_is_tried_again_as_often_as_the_rule_says", RULE, "spec.httpReqRetries.simpleRetry.", &["attempts"]),
    by("route_rule_effects::an_attempt_that_outlasts_its_time_is_made_again", RULE, "spec.httpReqRetries.simpleRetry.", &["perTryTimeout"]),
    by("route_rule_effects::delays_and_aborts_are_for_their_percentage_of_the_requests", RULE, "spec.httpFault.", &["delay.percent", "abort.percent"]),
    by("route_rule_effects::a_delay_makes_a_request_wait_before_it_goes_on", RULE, "spec.httpFault.delay.", &["fixedDelay"]),
    by("route_rule::a_fault_aborts_what_the_rule_matches_and_no_more", RULE, "spec.httpFault.abort.", &["httpStatus"]),
    by("route_rule::a_mirror_gets_a_copy_of_every_request_and_the_caller_the_answer_of_the_other", RULE, "spec.", &["mirror"]),
    by("route_rule::a_preflight_of_a_listed_origin_is_answered", RULE, "spec.corsPolicy.", &["allowOrigin", "allowMethods", "allowHeaders", "maxAge"]),
    by("route_rule_effects::a_star_lets_every_origin_read_what_is_exposed_and_credentials_are_for_those_that_say_so", RULE, "spec.corsPolicy.", &["exposeHeaders", "allowCredentials"]),
    by("route_rule::appended_headers_stand_behind_those_that_are_there", RULE, "spec.", &["appendHeaders"]),

    by("destination_policy_effects::a_policy_holds_for_the_version_whose_labels_it_names", POLICY, "spec.", &["destination"]),
    by("destination_policy_effects::a_policy_with_a_source_holds_beside_an_endpoint_of_that_service_and_nowhere_else", POLICY, "spec.", &["source"]),
    by("destination_policy_effects::endpoints_are_chosen_in_the_way_that_is_named", POLICY, "spec.loadBalancing.", &["name"]),
    by("destination_policy_effects::no_more_connections_are_open_than_it_says_and_the_rest_waits", POLICY, BREAKER, &["maxConnections"]),
    by("destination_policy_effects::no_more_requests_wait_for_a_connection_than_it_says", POLICY, BREAKER, &["httpMaxPendingRequests"]),
    by("destination_policy_effects::no_more_requests_are_under_way_than_it_says", POLICY, BREAKER, &["httpMaxRequests"]),
    by("destination_policy_effects::a_connection_takes_no_more_requests_than_it_says", POLICY, BREAKER, &["httpMaxRequestsPerConnection"]),
    by("destination_policy_effects::no_more_retries_are_under_way_than_it_says", POLICY, BREAKER, &["httpMaxRetries"]),
    by("destination_policy_effects::who_fails_as_often_in_a_row_as_it_says_is_left_alone", POLICY, BREAKER, &["httpConsecutiveErrors"]),
    by("destination_policy_effects::no_more_endpoints_are_left_alone_than_its_part_of_all", POLICY, BREAKER, &["httpMaxEjectionPercent"]),
    by("destination_policy_effects::who_is_left_alone_comes_back_after_its_sleep_at_the_end_of_an_interval", POLICY, BREAKER, &["sleepWindow", "httpDetectionInterval"]),

    by("virtual_service::hosts_beside_the_service_are_served_where_the_host_decides", VIRTUAL, "spec.", &["hosts[]"]),
    by("virtual_service_effects::gateways_and_ports_say_at_which_listeners_a_rule_holds", VIRTUAL, "spec.", &["gateways[]", "http[].match[].gateways[]", "http[].match[].port"]),
    by("dialect_destinations::the_name_of_a_rule_stands_in_the_log_and_in_the_metrics", VIRTUAL, "spec.http[].", &["name"]),
    by("virtual_service::each_condition_of_a_match_takes_exactly_what_it_says", VIRTUAL, "spec.http[].match[].", &["uri", "ignoreUriCase", "scheme", "method", "authority", "headers", "withoutHeaders", "queryParams"]),
    by("virtual_service::who_calls_and_by_which_port_is_a_condition", VIRTUAL, "spec.http[].match[].", &["sourceLabels", "sourceNamespace"]),
    by("virtual_service::weights_are_relative_and_every_share_is_exact", VIRTUAL, "spec.http[].route[].", &["destination.host", "destination.subset", "weight"]),
    by("virtual_service_effects::headers_are_set_added_and_removed_both_ways_by_the_share_and_then_by_the_rule", VIRTUAL, "spec.http[].", &["route[].headers", "headers.request", "headers.response"]),
    by("virtual_service_effects::a_redirect_changes_the_parts_that_it_names_and_has_the_status_that_it_says", VIRTUAL, "spec.http[].redirect.", &["uri", "authority", "port", "derivePort", "scheme", "redirectCode"]),
    by("virtual_service_effects::a_direct_response_has_the_status_and_the_body_that_it_says", VIRTUAL, "spec.http[].directResponse.", &["status", "body.string", "body.bytes"]),
    by("virtual_service_effects::a_rewrite_takes_the_place_of_what_was_matched_of_path_and_host", VIRTUAL, "spec.http[].rewrite.", &["uri", "authority", "uriRegexRewrite"]),
    by("virtual_service::a_timeout_is_for_the_whole_request_and_zero_is_none", VIRTUAL, "spec.http[].", &["timeout"]),
    by("virtual_service::retries_are_made_on_what_is_asked_and_as_often", VIRTUAL, "spec.http[].retries.", &["attempts"]),
    by("policy_back_off::another_attempt_is_not_made_before_its_pause_is_over", VIRTUAL, "spec.http[].retries.", &["backoff"]),
    by("virtual_service_effects::an_attempt_that_outlasts_its_time_is_made_again_where_that_is_asked_for", VIRTUAL, "spec.http[].retries.", &["perTryTimeout", "retryOn"]),
    by("virtual_service_effects::a_retry_goes_to_another_endpoint_unless_that_is_turned_off", VIRTUAL, "spec.http[].retries.", &["retryIgnorePreviousHosts"]),
    by("virtual_service_effects::a_delay_makes_requests_wait_and_is_for_a_percentage_of_them", VIRTUAL, "spec.http[].fault.delay.", &["fixedDelay", "percentage.value", "percent"]),
    by("virtual_service_effects::an_abort_has_the_status_that_it_says_to_requests_and_to_calls", VIRTUAL, "spec.http[].fault.abort.", &["httpStatus", "grpcStatus"]),
    by("virtual_service_effects::an_abort_is_for_its_percentage_of_the_requests", VIRTUAL, "spec.http[].fault.abort.", &["percentage.value"]),
    by("virtual_service_effects::each_mirror_gets_copies_of_its_percentage_of_the_requests", VIRTUAL, "spec.http[].", &["mirror", "mirrorPercentage.value", "mirrorPercent", "mirrors[].destination", "mirrors[].percentage.value"]),
    by("virtual_service_effects::an_origin_is_let_in_by_its_text_its_beginning_or_an_expression", VIRTUAL, "spec.http[].corsPolicy.", &["allowOrigins[]", "allowOrigin[]"]),
    by("virtual_service_effects::a_preflight_is_told_what_is_allowed_and_an_answer_what_may_be_read", VIRTUAL, "spec.http[].corsPolicy.", &["allowMethods[]", "allowHeaders[]", "exposeHeaders[]", "maxAge", "allowCredentials", "unmatchedPreflights"]),

    by("destination_rule_effects::a_subset_has_settings_of_its_own_a_whole_group_at_a_time", DESTINATION, "spec.", &["host", "subsets[].trafficPolicy"]),
    by("virtual_service::weights_are_relative_and_every_share_is_exact", DESTINATION, "spec.subsets[].", &["name", "labels"]),
    by("destination_rule_balance::endpoints_are_chosen_in_the_way_that_is_named", DESTINATION, "spec.trafficPolicy.loadBalancer.", &["simple"]),
    by("destination_rule_balance::who_has_the_same_key_meets_the_same_endpoint_and_other_keys_meet_others", DESTINATION, HASH, &["httpHeaderName", "httpQueryParameterName"]),
    by("destination_rule_balance::a_cookie_with_a_time_to_live_is_set_for_callers_without_it_as_it_says", DESTINATION, HASH, &["httpCookie"]),
    by("destination_rule_balance::the_address_of_the_caller_is_a_key", DESTINATION, HASH, &["useSourceIp"]),
    by("destination_rule_balance::rings_and_tables_are_as_large_as_they_say", DESTINATION, HASH, &["ringHash.minimumRingSize", "maglev.tableSize", "minimumRingSize"]),
    by("destination_rule_balance::who_comes_new_begins_with_the_share_and_grows_as_it_says", DESTINATION, "spec.trafficPolicy.loadBalancer.", &["warmup", "warmupDurationSecs"]),
    by("destination_rule_effects::no_more_connections_are_open_than_it_says_and_the_rest_waits", DESTINATION, TCP, &["maxConnections"]),
    by("destination_rule_effects::a_connection_that_takes_longer_than_it_says_is_given_up", DESTINATION, TCP, &["connectTimeout"]),
    by("destination_rule_effects::a_connection_is_probed_after_the_time_that_it_says", DESTINATION, TCP, &["tcpKeepalive"]),
    by("destination_rule_effects::a_connection_is_closed_when_it_has_lived_or_idled_for_as_long_as_it_says", DESTINATION, "spec.trafficPolicy.connectionPool.", &["tcp.maxConnectionDuration", "http.idleTimeout"]),
    by("destination_rule_effects::no_more_requests_wait_for_a_connection_than_it_says", DESTINATION, HTTP, &["http1MaxPendingRequests"]),
    by("destination_rule_effects::no_more_requests_are_under_way_than_it_says", DESTINATION, HTTP, &["http2MaxRequests"]),
    by("destination_rule_effects::a_connection_takes_no_more_requests_than_it_says", DESTINATION, HTTP, &["maxRequestsPerConnection"]),
    by("destination_rule_effects::no_more_retries_are_under_way_than_it_says", DESTINATION, HTTP, &["maxRetries"]),
    by("destination_rule_effects::http_2_is_spoken_where_it_says_so_and_as_many_streams_are_open_on_a_connection", DESTINATION, HTTP, &["maxConcurrentStreams"]),
    by("destination_rule::an_upgrade_to_http_2_is_spoken_whatever_the_caller_speaks", DESTINATION, HTTP, &["h2UpgradePolicy"]),
    by("destination_rule::the_protocol_of_the_caller_is_spoken_upstream_where_a_rule_asks_for_it", DESTINATION, HTTP, &["useClientProtocol"]),
    by("destination_rule_effects::who_fails_as_often_in_a_row_as_it_says_is_left_alone_by_any_5xx_or_by_a_gateways", DESTINATION, OUTLIER, &["consecutive5xxErrors", "consecutiveGatewayErrors"]),
    by("destination_rule_effects::who_takes_no_connection_is_counted_apart_where_it_says_so", DESTINATION, OUTLIER, &["splitExternalLocalOriginErrors", "consecutiveLocalOriginFailures"]),
    by("destination_rule_effects::who_is_left_alone_comes_back_after_his_time_at_the_end_of_an_interval", DESTINATION, OUTLIER, &["interval", "baseEjectionTime"]),
    by("destination_rule_effects::no_more_endpoints_are_left_alone_than_its_part_of_all", DESTINATION, OUTLIER, &["maxEjectionPercent"]),
    by("destination_rule_effects::below_the_part_of_all_that_has_to_be_well_all_are_asked", DESTINATION, OUTLIER, &["minHealthPercent"]),
    by("destination_rule_effects::settings_for_a_port_stand_for_all_groups_where_the_endpoints_have_it", DESTINATION, "spec.trafficPolicy.", &["portLevelSettings[]"]),
    by("destination_rule_effects::a_budget_of_retries_takes_the_place_of_their_number", DESTINATION, "spec.trafficPolicy.", &["retryBudget"]),

    by("gateway_api::a_gateway_as_parent_holds_for_the_listeners_that_stand_for_it", ROUTE, "spec.parentRefs[].", &["group", "kind", "name"]),
    by("gateway_api_parents::a_gateway_of_another_namespace_is_another_gateway", ROUTE, "spec.parentRefs[].", &["namespace"]),
    by("gateway_api_parents::a_part_of_a_gateway_is_the_listener_of_that_name_or_port", ROUTE, "spec.parentRefs[].", &["sectionName", "port"]),
    by("gateway_api_parents::host_names_choose_the_route_and_what_none_names_is_lost", ROUTE, "spec.", &["hostnames"]),
    by("gateway_api_parents::a_rule_is_called_by_its_route_and_its_own_name", ROUTE, "spec.rules[].", &["name"]),
    by("gateway_api::each_kind_of_match_takes_exactly_what_it_says", ROUTE, "spec.rules[].matches[].", &["path.type", "path.value", "headers[].type", "headers[].name", "headers[].value", "queryParams[].type", "queryParams[].name", "queryParams[].value", "method"]),
    by("gateway_api::headers_are_edited_both_ways_for_a_rule_and_for_a_backend_alone", ROUTE, "spec.rules[].", &["filters[].type"]),
    by("gateway_api_filters::each_modifier_edits_its_own_way_alone_for_a_rule_and_for_a_backend", ROUTE, "spec.rules[].", &["filters[].requestHeaderModifier.set", "filters[].requestHeaderModifier.add", "filters[].requestHeaderModifier.remove", "filters[].responseHeaderModifier.set", "filters[].responseHeaderModifier.add", "filters[].responseHeaderModifier.remove", "backendRefs[].filters[].requestHeaderModifier", "backendRefs[].filters[].responseHeaderModifier"]),
    by("gateway_api_filters::a_mirror_gets_copies_of_its_part_of_the_requests_or_calls", ROUTE, "spec.rules[].filters[].requestMirror.", &["backendRef", "percent", "fraction"]),
    by("gateway_api_filters::a_redirect_changes_the_part_that_it_names", ROUTE, "spec.rules[].filters[].requestRedirect.", &["scheme", "hostname", "path", "port", "statusCode"]),
    by("gateway_api_filters::a_rewrite_of_the_host_leaves_the_path_and_one_of_the_path_the_host", ROUTE, "spec.rules[].filters[].urlRewrite.", &["hostname", "path"]),
    by("gateway_api_filters::cors_tells_what_the_filter_says_and_no_more", ROUTE, "spec.rules[].filters[].cors.", &["allowOrigins", "allowCredentials", "allowMethods", "allowHeaders", "exposeHeaders", "maxAge"]),
    by("gateway_api_parents::a_backend_is_the_service_of_its_namespace", ROUTE, "spec.rules[].backendRefs[].", &["group", "kind", "namespace", "name"]),
    by("gateway_api::requests_are_split_by_the_weights_of_backends_that_name_versions", ROUTE, "spec.rules[].backendRefs[].", &["weight"]),
    by("gateway_api_attempts::a_mirror_gets_a_copy_of_each_request_of_its_rule_or_of_its_backend", ROUTE, "spec.rules[].backendRefs[].filters[].", &["requestMirror"]),
    by("gateway_api::a_path_and_a_host_are_rewritten_for_a_rule_and_a_backends_own_wins", ROUTE, "spec.rules[].backendRefs[].filters[].", &["urlRewrite"]),
    by("gateway_api::a_backend_that_redirects_sends_its_share_elsewhere_and_no_other", ROUTE, "spec.rules[].backendRefs[].filters[].", &["requestRedirect"]),
    by("gateway_api::a_backend_with_cors_lets_other_origins_read_its_share_and_answers_the_preflights_that_fall_to_it", ROUTE, "spec.rules[].backendRefs[].filters[].", &["cors"]),
    by("gateway_api_attempts::a_request_that_outlasts_its_timeout_gets_504_and_zero_turns_the_services_own_off", ROUTE, "spec.rules[].timeouts.", &["request"]),
    by("gateway_api_attempts::an_attempt_that_outlasts_backend_request_is_made_again_if_retries_are_asked_for", ROUTE, "spec.rules[].timeouts.", &["backendRequest"]),
    by("gateway_api_attempts::a_status_that_is_listed_is_retried_as_often_as_is_said_and_no_other", ROUTE, "spec.rules[].retry.", &["codes", "attempts"]),
    by("policy_back_off::another_attempt_is_not_made_before_its_pause_is_over", ROUTE, "spec.rules[].retry.", &["backoff"]),

    by("gateway_api_parents::a_part_of_a_gateway_is_the_listener_of_that_name_or_port", CALLS, "spec.", &["parentRefs"]),
    by("gateway_api_parents::host_names_choose_the_route_and_what_none_names_is_lost", CALLS, "spec.", &["hostnames"]),
    by("gateway_api_parents::a_rule_is_called_by_its_route_and_its_own_name", CALLS, "spec.rules[].", &["name"]),
    by("gateway_api_grpc::each_kind_of_match_takes_exactly_what_it_says", CALLS, "spec.rules[].matches[].", &["method.type", "method.service", "method.method", "headers[].type", "headers[].name", "headers[].value"]),
    by("gateway_api_grpc::metadata_is_edited_both_ways", CALLS, "spec.rules[].filters[].", &["type", "requestHeaderModifier", "responseHeaderModifier"]),
    by("gateway_api_attempts::a_grpcroute_mirrors_calls", CALLS, "spec.rules[].filters[].", &["requestMirror"]),
    by("gateway_api_parents::a_backend_is_the_service_of_its_namespace", CALLS, "spec.rules[].backendRefs[].", &["group", "kind", "namespace", "name"]),
    by("gateway_api_grpc::calls_are_split_by_weight", CALLS, "spec.rules[].backendRefs[].", &["weight"]),
    by("gateway_api_filters::each_modifier_edits_its_own_way_alone_for_a_rule_and_for_a_backend", CALLS, "spec.rules[].backendRefs[].filters[].", &["requestHeaderModifier", "responseHeaderModifier"]),
    by("gateway_api_filters::a_mirror_gets_copies_of_its_part_of_the_requests_or_calls", CALLS, "spec.rules[].backendRefs[].filters[].", &["requestMirror"]),
];
