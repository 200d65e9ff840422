//! The measuring instruments themselves: the real client against the real runtime, without a proxy between them.
//!
//! What another test finds with them through Weir means something only while this holds.

mod common {
    pub(crate) mod parts;
    pub(crate) mod python;
}

use std::time::Duration;

use common::parts::part;
use common::python::{Calls, Mode, ModelServer, Protocol, make_models};

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn the_real_client_counts_what_the_model_server_served() {
    let Some(python) = part("tensorflow") else { return };
    let models = tempfile::tempdir().unwrap();
    make_models(&python, models.path());
    for version in [1, 2] {
        let mut server = ModelServer::start(&python, models.path(), version);
        for (protocol, target) in [(Protocol::Grpc, server.grpc), (Protocol::Rest, server.rest)] {
            let calls = Calls { target, protocol, mode: Mode::Alternate, requests: 40, connections: 4 };
            let report = calls.run(&python, DEADLINE);
            let name = version.to_string();
            assert_eq!((report.requests, report.errors), (40, 0), "{protocol:?}: {report:?}");
            assert_eq!(report.served_by(&name), 40, "{protocol:?}: {report:?}");
            assert_eq!(report.of_kind("predict", &name), 20, "{protocol:?}: {report:?}");
            assert_eq!(report.of_kind("status", &name), 20, "{protocol:?}: {report:?}");
        }
        let counts = server.counts();
        assert_eq!((counts.grpc, counts.rest), (40, 40), "{counts:?}");
        assert_eq!(counts.by_kind["grpc"]["Predict"], 20, "{counts:?}");
        assert_eq!(counts.by_kind["rest"]["status"], 20, "{counts:?}");
    }
}

#[test]
fn a_target_that_refuses_is_an_error_of_each_request() {
    let Some(python) = part("tensorflow") else { return };
    // Bound and dropped: nobody listens there now.
    let target = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (protocol, error) in [(Protocol::Grpc, "UNAVAILABLE"), (Protocol::Rest, "ConnectionRefusedError")] {
        let calls = Calls { target, protocol, mode: Mode::Predict, requests: 4, connections: 2 };
        let report = calls.run(&python, DEADLINE);
        assert_eq!(report.errors, 4, "{report:?}");
        assert_eq!(report.by_error.get(error), Some(&4), "{report:?}");
    }
}
