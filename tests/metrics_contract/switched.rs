//! Istio's old metrics show what became of a gRPC call by the status that HTTP has for it, unless that is switched off.

use std::time::Instant;

use crate::common::world::client::{Client, grpc_call};
use crate::common::world::{Http, SOON, World, free_port, one_service, run, split_rule};

#[test]
fn a_failed_call_has_the_code_of_http_in_the_old_family_unless_the_configuration_says_otherwise() {
    run(async || {
        for (metrics, code) in [
            ("", "503"),
            ("metrics: {grpc_as_http: true}\n", "503"),
            ("metrics: {grpc_as_http: false}\n", "200"),
        ] {
            let gone = format!("127.0.0.1:{}", free_port());
            let yaml = format!("{metrics}{}", one_service(&[], &[(&gone, "v1")]));
            let world = World::with_rules(&yaml, &[("split.yaml", &split_rule(&[("v1", 100)]))]).await;
            let mut client = Client::connect(Http::Two, world.addr("in")).await;
            let answer = client.send(grpc_call("/tensorflow.serving.PredictionService/Predict", b"")).await;
            assert_eq!((answer.status.as_u16(), answer.grpc_status()), (200, Some("14")), "{metrics}");
            let of = [format!("response_code=\"{code}\"")];
            // Counted when all of it is over.
            let began = Instant::now();
            while world.metric("weir_requests_total", &["server_error"]).await < 1.0 {
                assert!(began.elapsed() < SOON, "{metrics}: it is not counted");
            }
            assert_eq!(world.metric("istio_request_count", &[&of[0]]).await, 1.0, "{metrics}");
            // The modern one keeps the code that the call came by.
            let modern = ["reporter=\"source\"", "response_code=\"200\"", "grpc_response_status=\"14\""];
            assert_eq!(world.metric("istio_requests_total", &modern).await, 1.0, "{metrics}");
        }
    });
}
