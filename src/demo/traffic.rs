//! Gentle traffic: predictions, by gRPC and by REST in turn, at a steady rate.
//!
//! Law: gRPC goes over one HTTP/2 connection and REST over one kept-alive HTTP/1.1 connection; whatever happens to them,
//! the next request is sent in its time, and each is counted once. It must not know what answers.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::transport::{Channel, Endpoint};

use super::toy::INPUT;
use crate::proto::tensorflow::serving::prediction_service_client::PredictionServiceClient;
use crate::proto::tensorflow::serving::{ModelSpec, PredictRequest};
use crate::proto::tensorflow::{DataType, TensorProto, TensorShapeProto};

/// A request that has no answer by then has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What to send, and where.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// Speaks both HTTP/1.1 and HTTP/2 with prior knowledge.
    pub target: SocketAddr,
    /// The name of the model.
    pub model: String,
    /// The time from one request to the next.
    pub every: Duration,
}

impl Traffic {
    /// About 40 requests a second: enough to see a share of 5 %, too little to hear the fan.
    #[must_use]
    pub fn gentle(target: SocketAddr, model: &str) -> Self {
        Self { target, model: model.to_owned(), every: Duration::from_millis(25) }
    }

    /// Sends until `stop` holds true or its sender is gone. A request under way then is finished and counted.
    ///
    /// # Errors
    /// When the target cannot be written as an address of gRPC.
    pub async fn run(self, counts: &Counts, mut stop: watch::Receiver<bool>) -> io::Result<()> {
        let mut grpc = GrpcCaller::new(&self)?;
        let mut rest = RestCaller::new(&self);
        let mut ticks = interval(self.every.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for turn in 0_u64.. {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                _ = ticks.tick() => {}
            }
            let answered = async { if turn % 2 == 0 { grpc.predict().await } else { rest.predict().await } };
            let answered = timeout(REQUEST_TIMEOUT, answered).await;
            counts.count(answered.unwrap_or_else(|late| Err(late.into())));
        }
        Ok(())
    }
}

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    /// All requests that were sent, or tried to be.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Those of them that were not answered with success.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    fn count(&self, answered: io::Result<()>) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        if let Err(fault) = answered {
            self.failed.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%fault, "a request of the demo's traffic failed");
        }
    }
}

struct GrpcCaller {
    client: PredictionServiceClient<Channel>,
    request: PredictRequest,
}

impl GrpcCaller {
    fn new(traffic: &Traffic) -> io::Result<Self> {
        let endpoint =
            Endpoint::from_shared(format!("http://{}", traffic.target)).map_err(io::Error::other)?;
        // Connects at the first call, and again at the next call after a connection has failed.
        let client = PredictionServiceClient::new(endpoint.connect_lazy());
        let tensor = TensorProto {
            dtype: DataType::DtFloat.into(),
            tensor_shape: Some(TensorShapeProto::default()),
            float_val: vec![1.0],
            ..TensorProto::default()
        };
        let request = PredictRequest {
            model_spec: Some(ModelSpec { name: traffic.model.clone(), ..ModelSpec::default() }),
            inputs: BTreeMap::from([(INPUT.to_owned(), tensor)]),
            output_filter: Vec::new(),
        };
        Ok(Self { client, request })
    }

    async fn predict(&mut self) -> io::Result<()> {
        self.client.predict(self.request.clone()).await.map(|_| ()).map_err(io::Error::other)
    }
}

struct RestCaller {
    target: SocketAddr,
    path: String,
    connection: Option<http1::SendRequest<Full<Bytes>>>,
}

impl RestCaller {
    fn new(traffic: &Traffic) -> Self {
        let path = format!("/v1/models/{}:predict", traffic.model);
        Self { target: traffic.target, path, connection: None }
    }

    async fn predict(&mut self) -> io::Result<()> {
        let mut sender = self.connected().await?;
        let request = Request::post(&self.path)
            .header(header::HOST, self.target.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(&br#"{"instances": [1.0]}"#[..]))
            .map_err(io::Error::other)?;
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        response.into_body().collect().await.map_err(io::Error::other)?;
        // Only a connection whose answer was read to its end serves again.
        self.connection = Some(sender);
        if status == StatusCode::OK {
            Ok(())
        } else {
            Err(io::Error::other(format!("answered with {status}")))
        }
    }

    async fn connected(&mut self) -> io::Result<http1::SendRequest<Full<Bytes>>> {
        if let Some(mut sender) = self.connection.take()
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let stream = TcpStream::connect(self.target).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            if let Err(fault) = connection.await {
                tracing::debug!(%fault, "a connection of the demo's traffic ended early");
            }
        });
        Ok(sender)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::demo::model_server::{ModelServer, Options};

    /// Runs traffic at `target` until `enough` holds of its counts.
    async fn run_until(target: SocketAddr, enough: impl Fn(&Counts) -> bool) -> (u64, u64) {
        let counts = Counts::default();
        let (stop, stopped) = watch::channel(false);
        let traffic = Traffic { every: Duration::from_millis(1), ..Traffic::gentle(target, "half_plus_two") };
        let watched = async {
            while !enough(&counts) {
                tokio::task::yield_now().await;
            }
            stop.send(true).unwrap();
        };
        let both = async { tokio::join!(traffic.run(&counts, stopped), watched) };
        let (ran, ()) =
            timeout(Duration::from_secs(20), both).await.expect("the traffic should have been enough by now");
        ran.unwrap();
        (counts.sent(), counts.failed())
    }

    #[tokio::test]
    async fn each_kind_of_request_succeeds_where_it_is_understood() {
        // No proxy here: a model server understands one kind on each port.
        let server = ModelServer::start(1, Options::default()).await.unwrap();
        let (sent, failed) = run_until(server.grpc_addr(), |counts| counts.sent() >= 20).await;
        assert_eq!((server.requests(), failed), (sent.div_ceil(2), sent / 2));
        let before = server.requests();
        let (sent, failed) = run_until(server.rest_addr(), |counts| counts.sent() >= 20).await;
        assert_eq!((server.requests() - before, failed), (sent / 2, sent.div_ceil(2)));
    }

    #[tokio::test]
    async fn a_refused_connection_is_counted_and_the_next_request_connects_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        drop(listener);
        let (sent, failed) = run_until(target, |counts| counts.failed() >= 4).await;
        assert_eq!(sent, failed);
    }

    #[tokio::test]
    async fn a_connection_that_the_server_closes_after_each_answer_costs_no_request() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await.unwrap();
                let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                stream.write_all(reply).await.unwrap();
            }
        });
        let mut caller = RestCaller::new(&Traffic::gentle(target, "half_plus_two"));
        for _ in 0..3 {
            caller.predict().await.unwrap();
        }
    }
}
