//! A caller in Rust, for tests that need many requests and no TensorFlow: TF Serving's REST by hyper, its gRPC by
//! tonic.
//!
//! Its law: a failure is counted as the caller sees it, never hidden by a retry or a second connection. The version is
//! read from the prediction itself, as tests/real/client.py does: version N makes 10/2 + N + 1 of 10.
// Compiled into every test that has `mod common`, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::expect_used, clippy::unwrap_used)] // A panic is a test's report; clippy sees only `#[test]` as one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use weir::proto::tensorflow::serving::prediction_service_client::PredictionServiceClient;
use weir::proto::tensorflow::serving::{ModelSpec, PredictRequest};
use weir::proto::tensorflow::{DataType, TensorProto, TensorShapeProto};

const DEADLINE: Duration = Duration::from_secs(120);
const MODEL: &str = "half_plus_two";

/// What became of requests: `v1` by the version that answered, else the HTTP status and body or the gRPC code.
pub type Tally = BTreeMap<String, u64>;

/// How to speak.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    Grpc,
    Rest,
}

/// What to ask for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ask {
    Predict,
    /// A prediction of no input: INVALID_ARGUMENT, 400.
    Nonsense,
}

/// One connection, with one request at a time.
pub enum Caller {
    Grpc(PredictionServiceClient<Channel>),
    Rest { sender: http1::SendRequest<Full<Bytes>>, host: String },
}

impl Caller {
    pub async fn connect(target: SocketAddr, protocol: Protocol) -> Caller {
        match protocol {
            Protocol::Grpc => {
                let endpoint = Endpoint::from_shared(format!("http://{target}")).unwrap();
                let channel =
                    timeout(DEADLINE, endpoint.connect()).await.expect("in time").expect("a connection");
                Caller::Grpc(PredictionServiceClient::new(channel))
            }
            Protocol::Rest => {
                let stream = TcpStream::connect(target).await.expect("a connection");
                stream.set_nodelay(true).unwrap();
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                Caller::Rest { sender, host: target.to_string() }
            }
        }
    }

    /// One request; what became of it.
    pub async fn ask(&mut self, ask: Ask) -> String {
        match self {
            Caller::Grpc(client) => match client.predict(predict_request(ask)).await {
                Ok(reply) => version_of(reply.into_inner().outputs["y"].float_val[0].into()),
                Err(status) => format!("{:?}", status.code()),
            },
            Caller::Rest { sender, host } => {
                if let Err(error) = sender.ready().await {
                    return error.to_string();
                }
                match rest(sender, host, ask).await {
                    Ok(text) => text,
                    Err(error) => error.to_string(),
                }
            }
        }
    }

    /// So many requests, one after the other.
    pub async fn ask_often(&mut self, ask: Ask, requests: u64) -> Tally {
        let mut tally = Tally::new();
        for _ in 0..requests {
            *tally.entry(self.ask(ask).await).or_default() += 1;
        }
        tally
    }
}

/// Predictions, shared out evenly to so many connections that all send at once.
pub async fn predict(target: SocketAddr, protocol: Protocol, requests: u64, connections: u64) -> Tally {
    assert_eq!(requests % connections, 0);
    let one = || async {
        let mut caller = Caller::connect(target, protocol).await;
        caller.ask_often(Ask::Predict, requests / connections).await
    };
    let all = timeout(DEADLINE, join_all((0..connections).map(|_| one()))).await.expect("answers in time");
    merged(all)
}

pub fn merged(tallies: impl IntoIterator<Item = Tally>) -> Tally {
    let mut sum = Tally::new();
    for (outcome, count) in tallies.into_iter().flatten() {
        *sum.entry(outcome).or_default() += count;
    }
    sum
}

async fn rest(sender: &mut http1::SendRequest<Full<Bytes>>, host: &str, ask: Ask) -> hyper::Result<String> {
    let body = match ask {
        Ask::Predict => r#"{"instances": [10.0]}"#,
        Ask::Nonsense => "{}",
    };
    let request = Request::post(format!("/v1/models/{MODEL}:predict"))
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(body))
        .unwrap();
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    let text = String::from_utf8_lossy(&body);
    if status != 200 {
        return Ok(format!("{} {text}", status.as_u16()).trim_end().to_owned());
    }
    let reply: serde_json::Value = serde_json::from_str(&text).unwrap();
    Ok(version_of(reply["predictions"][0].as_f64().unwrap()))
}

fn version_of(prediction: f64) -> String {
    format!("v{}", prediction - 6.0)
}

fn predict_request(ask: Ask) -> PredictRequest {
    let tensor = TensorProto {
        dtype: DataType::DtFloat.into(),
        tensor_shape: Some(TensorShapeProto::default()),
        float_val: vec![10.0],
        ..TensorProto::default()
    };
    let inputs = match ask {
        Ask::Predict => BTreeMap::from([("x".to_owned(), tensor)]),
        Ask::Nonsense => BTreeMap::new(),
    };
    let model_spec = Some(ModelSpec { name: MODEL.to_owned(), ..ModelSpec::default() });
    PredictRequest { model_spec, inputs, output_filter: Vec::new() }
}
