//! An embedded model server: TF Serving's gRPC and REST, for the toy model, on loopback.
//!
//! Law: a client that works with TF Serving works here unchanged, and is refused here as it would be there. It takes a
//! few milliseconds for a prediction, as a real model does. It must not know that a proxy stands before it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::Status;
use tonic::transport::server::TcpIncoming;

use super::grpc::Grpc;
use super::rest;
use super::toy::Model;
use crate::proto::tensorflow::serving::model_service_server::ModelServiceServer;
use crate::proto::tensorflow::serving::prediction_service_server::PredictionServiceServer;
use crate::proto::tensorflow::serving::{PredictRequest, PredictResponse};

/// The largest request, by either protocol. TF Serving has no such limit; a demo on a laptop should.
pub(super) const REQUEST_MAX_BYTES: usize = 64 * 1024 * 1024;

/// The tail of a service time is cut here, in multiples of the jitter.
const JITTER_MAX: f64 = 4.0;

/// How long a prediction takes: `base`, and on top of it an exponential draw with mean `jitter`, at most four times it.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServiceTime {
    /// No prediction is faster.
    pub base: Duration,
    /// What comes on top, on average.
    pub jitter: Duration,
}

impl ServiceTime {
    /// The time for one draw, a number from 0 to 1.
    fn at(self, draw: f64) -> Duration {
        let tail = -(1.0 - draw.clamp(0.0, 1.0)).ln();
        self.base + self.jitter.mul_f64(tail.clamp(0.0, JITTER_MAX))
    }
}

/// What may differ between model servers besides the version.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name of the model.
    pub model: String,
    /// Labels that stand for the version; none, as a stock TF Serving has it.
    pub labels: Vec<String>,
    /// How long a prediction takes.
    pub service_time: ServiceTime,
}

impl Default for Options {
    fn default() -> Self {
        Self { model: "half_plus_two".to_owned(), labels: Vec::new(), service_time: ServiceTime::default() }
    }
}

/// A running model server. It stops when this is dropped.
#[derive(Debug)]
pub struct ModelServer {
    grpc_addr: SocketAddr,
    rest_addr: SocketAddr,
    server: Arc<Server>,
    /// Its drop tells both listeners and all connections to end.
    _stop: watch::Sender<()>,
}

impl ModelServer {
    /// Starts a model server for one version of the toy model, on two free ports of 127.0.0.1, on the current runtime.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(version: u32, options: Options) -> io::Result<Self> {
        let grpc = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let rest = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (grpc_addr, rest_addr) = (grpc.local_addr()?, rest.local_addr()?);
        let model = Model { name: options.model, version: version.into(), labels: options.labels };
        let server =
            Arc::new(Server { model, service_time: options.service_time, requests: AtomicU64::new(0) });
        let (stop, stopped) = watch::channel(());
        tokio::spawn(serve_grpc(grpc, Arc::clone(&server), stopped.clone()));
        tokio::spawn(rest::serve(rest, Arc::clone(&server), stopped));
        Ok(Self { grpc_addr, rest_addr, server, _stop: stop })
    }

    /// Where it speaks gRPC (HTTP/2 with prior knowledge).
    #[must_use]
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Where it speaks REST (HTTP/1.1).
    #[must_use]
    pub fn rest_addr(&self) -> SocketAddr {
        self.rest_addr
    }

    /// The predictions asked of it so far, by both protocols, refused ones included.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.server.requests.load(Ordering::Relaxed)
    }
}

/// What both protocols share.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) model: Model,
    service_time: ServiceTime,
    requests: AtomicU64,
}

impl Server {
    /// Counts one prediction asked for, be it refused later.
    pub(super) fn count(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Answers a prediction after the service time.
    pub(super) async fn predict(&self, request: &PredictRequest) -> Result<PredictResponse, Status> {
        let time = self.service_time.at(rand::random());
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
        self.model.predict(request)
    }
}

async fn serve_grpc(listener: TcpListener, server: Arc<Server>, mut stopped: watch::Receiver<()>) {
    let grpc = Grpc(server);
    let prediction = PredictionServiceServer::new(grpc.clone()).max_decoding_message_size(REQUEST_MAX_BYTES);
    let model = ModelServiceServer::new(grpc).max_decoding_message_size(REQUEST_MAX_BYTES);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let stop = async move {
        // An error is the sender's drop, which is the sign.
        let _ = stopped.changed().await;
    };
    let router = tonic::transport::Server::builder().add_service(prediction).add_service(model);
    if let Err(fault) = router.serve_with_incoming_shutdown(incoming, stop).await {
        tracing::warn!(%fault, "the demo's model server stopped serving gRPC");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_time_is_never_below_its_base_nor_above_its_cut_tail() {
        let time = ServiceTime { base: Duration::from_millis(2), jitter: Duration::from_millis(1) };
        assert_eq!(time.at(0.0), Duration::from_millis(2));
        assert_eq!(time.at(1.0), Duration::from_millis(6));
        assert!(time.at(0.5) > time.at(0.4));
        assert_eq!(ServiceTime::default().at(0.9), Duration::ZERO);
    }
}
