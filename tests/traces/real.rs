//! A collector that is not ours takes what Weir sends, and passes on what it has understood of it.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tokio::net::TcpStream;

use crate::common::otlp::{Collector, Via};
use crate::common::parts::part;
use crate::common::world::{SOON, World, free_port, one_service, run, within};
use crate::export::{EXPORTED, counted};
use crate::spans::{RETRIED, call, check_retried, unavailable_once};

/// Rotel, which passes all on to `next`. It ends with its value.
struct Rotel(Child);

impl Rotel {
    /// With addresses for gRPC and for HTTP; `None`: it is not installed.
    async fn start(next: &str) -> Option<(Rotel, [SocketAddr; 2])> {
        let program = part("rotel")?;
        let [grpc, http] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let mut command = Command::new(program);
        command.args(["start", "--exporter", "otlp", "--otlp-exporter-protocol", "http"]);
        command.args(["--otlp-exporter-endpoint", &format!("http://{next}")]);
        command.args(["--otlp-grpc-endpoint", &grpc.to_string(), "--otlp-http-endpoint", &http.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let rotel = Rotel(command.spawn().expect("it starts"));
        for address in [grpc, http] {
            within(SOON, "rotel listens", async {
                while TcpStream::connect(address).await.is_err() {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            })
            .await;
        }
        Some((rotel, [grpc, http]))
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_real_collector_understands_the_spans_of_a_retried_call() {
    run(async || {
        for via in Via::BOTH {
            let collector = Collector::start().await;
            let Some((_rotel, addresses)) = Rotel::start(&collector.at()).await else { return };
            let (upstream, noted) = unavailable_once().await;
            let at = addresses[usize::from(via == Via::Http)].to_string();
            let tracing = via.tracing(&at, 0).replace("sample_percent", "service_name: edge, sample_percent");
            let yaml = one_service(&["protocol: http2"], &[(&upstream.at(), "v1")]) + &tracing;
            let world = World::with_rules(&yaml, &[("x.yaml", RETRIED)]).await;
            call(&world).await;
            check_retried(&collector.wait(3).await, &noted.borrow(), &upstream.at());
            counted(&world, EXPORTED, "", 3.0).await;
        }
    });
}
