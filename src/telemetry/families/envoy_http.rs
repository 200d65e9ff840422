//! Envoy's families for HTTP connection managers and listeners, under Envoy's own names.
//!
//! Law: as in [`envoy`](super::envoy).

use std::time::Duration;

use super::super::contract::{Label, Values};
use super::super::family::{Family, Labels};
use super::super::recorder::{Counter, Gauge, Histogram, Recorder};
use super::buckets::ENVOY;
use super::codes::Classes;
use super::envoy::{CLASS, meter};

const PREFIX: Label =
    Label::new("envoy_http_conn_manager_prefix", Values::Configured, "`name:` of the listener");
const ADDRESS: Label = Label::new(
    "envoy_listener_address",
    Values::Configured,
    "`address:` of the listener, with `_` in place of `:`",
);
const HTTP: &[Label] = &[PREFIX];
const LISTENER: &[Label] = &[ADDRESS];

meter! {
    /// What the connections and requests of one HTTP connection manager count, but for the status classes.
    HttpSeries by HTTP {
        rq_total: Counter counter "envoy_http_downstream_rq_total" "Requests.",
        rq_http1_total: Counter counter "envoy_http_downstream_rq_http1_total" "HTTP/1 requests.",
        rq_http2_total: Counter counter "envoy_http_downstream_rq_http2_total" "HTTP/2 requests.",
        rq_active: Gauge gauge "envoy_http_downstream_rq_active" "Requests in flight.",
        rq_completed: Counter counter "envoy_http_downstream_rq_completed" "Requests that got an answer.",
        rq_time: Histogram histogram "envoy_http_downstream_rq_time" "Milliseconds of a request.",
        rq_timeout: Counter counter "envoy_http_downstream_rq_timeout" "Requests whose body or head came too late.",
        rq_idle_timeout: Counter counter "envoy_http_downstream_rq_idle_timeout" "Requests that were idle too long.",
        rq_rx_reset: Counter counter "envoy_http_downstream_rq_rx_reset" "Requests reset by the client.",
        rq_tx_reset: Counter counter "envoy_http_downstream_rq_tx_reset"
            "Requests whose answer the proxy cut after its head.",
        cx_total: Counter counter "envoy_http_downstream_cx_total" "Connections.",
        cx_http1_total: Counter counter "envoy_http_downstream_cx_http1_total" "HTTP/1 connections.",
        cx_http2_total: Counter counter "envoy_http_downstream_cx_http2_total" "HTTP/2 connections.",
        cx_active: Gauge gauge "envoy_http_downstream_cx_active" "Connections that are open.",
        cx_destroy: Counter counter "envoy_http_downstream_cx_destroy" "Connections that ended.",
        cx_length_ms: Histogram histogram "envoy_http_downstream_cx_length_ms" "Milliseconds that connections lived.",
        cx_rx_bytes_total: Counter counter "envoy_http_downstream_cx_rx_bytes_total" "Bytes received.",
        cx_tx_bytes_total: Counter counter "envoy_http_downstream_cx_tx_bytes_total" "Bytes sent.",
        cx_idle_timeout: Counter counter "envoy_http_downstream_cx_idle_timeout" "Connections closed for being idle.",
        cx_drain_close: Counter counter "envoy_http_downstream_cx_drain_close" "Connections closed for the drain.",
        cx_protocol_error: Counter counter "envoy_http_downstream_cx_protocol_error"
            "Connections that broke the protocol.",
        requests: Counter counter "envoy_http_rq_total" "Requests that were routed.",
        no_route: Counter counter "envoy_http_no_route" "Requests without a route.",
        no_cluster: Counter counter "envoy_http_no_cluster" "Requests whose route names an unknown cluster.",
        rq_redirect: Counter counter "envoy_http_rq_redirect" "Requests that were sent elsewhere.",
        rq_direct_response: Counter counter "envoy_http_rq_direct_response" "Requests that their route answered.",
        delays_injected: Counter counter "envoy_http_fault_delays_injected" "Requests that were made to wait.",
        aborts_injected: Counter counter "envoy_http_fault_aborts_injected" "Requests that were made to fail.",
    }
}

static HTTP_RQ_XX: Family = Family::counter("envoy_http_downstream_rq_xx", "Answers by class of status.")
    .on_envoys_page()
    .by(&[CLASS, PREFIX]);

/// What one HTTP connection manager counts. Shared by all workers; a deref leads to the plain series.
#[derive(Debug)]
pub struct HttpMeter {
    series: HttpSeries,
    classes: Classes,
}

impl HttpMeter {
    /// Resolves the series under the manager's `stat_prefix`, at zero.
    pub fn new(recorder: &Recorder, prefix: &str) -> HttpMeter {
        let series =
            HttpSeries::resolve(recorder, &Labels::new(&[("envoy_http_conn_manager_prefix", prefix)]));
        let classes = Classes::new(|class| {
            let labels = [("envoy_response_code_class", class), ("envoy_http_conn_manager_prefix", prefix)];
            recorder.counter(&HTTP_RQ_XX, &labels)
        });
        HttpMeter { series, classes }
    }

    /// Counts an answer: completed, its class and its time.
    pub fn answered(&self, status: u16, time: Duration) {
        self.series.rq_completed.increment(1);
        self.series.rq_time.observe(time.as_secs_f64() * 1e3);
        self.classes.count(status);
    }
}

impl std::ops::Deref for HttpMeter {
    type Target = HttpSeries;

    fn deref(&self) -> &HttpSeries {
        &self.series
    }
}

meter! {
    /// What one listener counts, but for the status classes.
    ListenerSeries by LISTENER {
        cx_total: Counter counter "envoy_listener_downstream_cx_total" "Connections accepted.",
        cx_active: Gauge gauge "envoy_listener_downstream_cx_active" "Connections that are open.",
        cx_destroy: Counter counter "envoy_listener_downstream_cx_destroy" "Connections that ended.",
        cx_overflow: Counter counter "envoy_listener_downstream_cx_overflow"
            "Times that accepting paused for the connection limit.",
    }
}

static LISTENER_RQ_XX: Family =
    Family::counter("envoy_listener_http_downstream_rq_xx", "Answers by class of status.")
        .on_envoys_page()
        .by(&[CLASS, PREFIX, ADDRESS]);
static LISTENER_RQ_COMPLETED: Family =
    Family::counter("envoy_listener_http_downstream_rq_completed", "Requests that got an answer.")
        .on_envoys_page()
        .by(&[PREFIX, ADDRESS]);

/// Those that no struct below has, for the contract.
pub(super) const FAMILIES: &[&Family] = &[&HTTP_RQ_XX, &LISTENER_RQ_XX, &LISTENER_RQ_COMPLETED];

/// What one listener counts. Shared by the acceptor and all workers; a deref leads to the plain series.
#[derive(Debug)]
pub struct ListenerMeter {
    series: ListenerSeries,
    completed: Counter,
    classes: Classes,
}

impl ListenerMeter {
    /// Resolves the series of a listener (`127.0.0.1:8500`) with its manager's `stat_prefix`, at zero.
    pub fn new(recorder: &Recorder, address: &str, prefix: &str) -> ListenerMeter {
        let address = address.replace(':', "_");
        let labels = Labels::new(&[("envoy_listener_address", &address)]);
        let http = [("envoy_http_conn_manager_prefix", prefix), ("envoy_listener_address", &*address)];
        ListenerMeter {
            series: ListenerSeries::resolve(recorder, &labels),
            completed: recorder.counter(&LISTENER_RQ_COMPLETED, &http),
            classes: Classes::new(|class| {
                let [prefix, address] = http;
                recorder.counter(&LISTENER_RQ_XX, &[("envoy_response_code_class", class), prefix, address])
            }),
        }
    }

    /// Counts an answer and its class.
    pub fn answered(&self, status: u16) {
        self.completed.increment(1);
        self.classes.count(status);
    }
}

impl std::ops::Deref for ListenerMeter {
    type Target = ListenerSeries;

    fn deref(&self) -> &ListenerSeries {
        &self.series
    }
}
