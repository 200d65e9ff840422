//! The model server's REST side: TF Serving's paths, bodies and error statuses over HTTP/1.1.
//!
//! Law: a path means what TF Serving's patterns say (letters of either case, the whole path), and a status of the model
//! becomes the HTTP code of TF Serving's table. It must not know the model's law.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tonic::{Code, Status};

use super::model_server::{REQUEST_MAX_BYTES, Server};
use super::rest_json::{read_predict, write_predict};
use super::toy::{DEFAULT_SIGNATURE, OUTPUT, signature};
use crate::proto::tensorflow::serving::model_spec::VersionChoice;
use crate::proto::tensorflow::serving::model_version_status::State;
use crate::proto::tensorflow::serving::{
    GetModelMetadataRequest, GetModelStatusRequest, ModelSpec, PredictRequest,
};
use crate::proto::tensorflow::tensor_info::Encoding;
use crate::proto::tensorflow::{DataType, TensorInfo, error};

/// Accepts connections until `stopped` changes or its sender is gone.
pub(super) async fn serve(listener: TcpListener, server: Arc<Server>, mut stopped: watch::Receiver<()>) {
    loop {
        let accepted = tokio::select! {
            _ = stopped.changed() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, Arc::clone(&server), stopped.clone()))),
            Err(fault) => {
                tracing::warn!(%fault, "the demo's model server could not accept a connection");
                // Out of descriptors, most likely: let some close before the next try.
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, server: Arc<Server>, mut stopped: watch::Receiver<()>) {
    // Only a matter of speed: without it the connection works as well.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| answer(&server, request));
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        _ = stopped.changed() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(fault) = ended {
        tracing::debug!(%fault, "a REST connection of the demo's model server ended early");
    }
}

async fn answer(server: &Server, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if head.method == Method::OPTIONS {
        return Ok(reply(preflight(&head.headers), String::new()));
    }
    if !path.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("/v1/")) {
        let page = "<html><head><title>404 Not Found</title></head><body><h1>Not Found</h1></body></html>";
        let mut response = reply(StatusCode::NOT_FOUND, page.to_owned());
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
        return Ok(response);
    }
    let answered = match Call::read(&head.method, path) {
        Ok(call) => call.perform(server, body).await,
        Err(fault) => Err(fault),
    };
    Ok(match answered {
        Ok(text) => reply(StatusCode::OK, text),
        Err(fault) => reply(http_status(fault.code()), pretty(&json!({ "error": fault.message() }), b"    ")),
    })
}

fn reply(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn preflight(headers: &HeaderMap) -> StatusCode {
    let origin = headers.get(header::ORIGIN).map_or(&b""[..], HeaderValue::as_bytes);
    if origin.starts_with(b"http://") || origin.starts_with(b"https://") {
        StatusCode::OK
    } else {
        StatusCode::BAD_REQUEST
    }
}

/// The HTTP code of a status: TF Serving's table.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        // 499, "client closed request", has no name in the http crate.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// What a method and a path ask for.
#[derive(Debug, PartialEq)]
enum Call {
    Predict(ModelSpec),
    /// `classify` or `regress`: known calls, but the toy has no signature for them.
    Other(ModelSpec, &'static str),
    Status(ModelSpec),
    Metadata(ModelSpec),
}

impl Call {
    fn read(method: &Method, path: &str) -> Result<Self, Status> {
        let malformed = || Status::invalid_argument(format!("Malformed request: {method} {path}"));
        let (models, rest) = path.split_at_checked(10).ok_or_else(malformed)?;
        if !models.eq_ignore_ascii_case("/v1/models") {
            return Err(malformed());
        }
        if *method == Method::POST {
            let (model, verb) = rest.rsplit_once(':').ok_or_else(malformed)?;
            let spec = model_spec(model)?.ok_or_else(malformed)?;
            return match verb {
                "predict" => Ok(Self::Predict(spec)),
                "classify" => Ok(Self::Other(spec, "classification")),
                "regress" => Ok(Self::Other(spec, "regression")),
                _ => Err(malformed()),
            };
        }
        if *method != Method::GET {
            return Err(malformed());
        }
        if rest.is_empty() {
            return Err(Status::invalid_argument("Missing model name in request."));
        }
        if let Some(spec) = model_spec(rest)? {
            return Ok(Self::Status(spec));
        }
        let (model, last) = rest.rsplit_once('/').ok_or_else(malformed)?;
        match model_spec(model)? {
            Some(spec) if last.eq_ignore_ascii_case("metadata") => Ok(Self::Metadata(spec)),
            _ => Err(malformed()),
        }
    }

    async fn perform(self, server: &Server, body: Incoming) -> Result<String, Status> {
        match self {
            Self::Predict(spec) => {
                let body = Limited::new(body, REQUEST_MAX_BYTES).collect().await;
                let body =
                    body.map_err(|fault| Status::invalid_argument(format!("Cannot read the body: {fault}")))?;
                predict(server, spec, &body.to_bytes()).await
            }
            Self::Other(spec, kind) => {
                server.model.find(Some(&spec))?;
                Err(Status::invalid_argument(format!(
                    "Expected {kind} signature method_name to be another than that of \"{DEFAULT_SIGNATURE}\", which is \
                     {}: call :predict",
                    signature().method_name
                )))
            }
            Self::Status(spec) => status(server, spec),
            Self::Metadata(spec) => metadata(server, spec),
        }
    }
}

/// Reads `/NAME`, `/NAME/versions/DIGITS` or `/NAME/labels/LABEL`; `None` if it is none of them.
fn model_spec(path: &str) -> Result<Option<ModelSpec>, Status> {
    let mut parts = path.split('/');
    let (Some(""), Some(name), kind, value, None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Ok(None);
    };
    let is_name = |text: &str| !text.is_empty() && !text.contains(':');
    let version_choice = match (kind, value) {
        _ if !is_name(name) => return Ok(None),
        (None, None) => None,
        (Some(kind), Some(digits))
            if kind.eq_ignore_ascii_case("versions")
                && !digits.is_empty()
                && digits.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            let number = digits.parse().map_err(|_| {
                Status::invalid_argument(format!("Failed to convert version: {digits} to numeric."))
            })?;
            Some(VersionChoice::Version(number))
        }
        (Some(kind), Some(label)) if kind.eq_ignore_ascii_case("labels") && is_name(label) => {
            Some(VersionChoice::VersionLabel(decoded(label)))
        }
        _ => return Ok(None),
    };
    Ok(Some(ModelSpec { name: decoded(name), version_choice, signature_name: String::new() }))
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

async fn predict(server: &Server, mut spec: ModelSpec, body: &[u8]) -> Result<String, Status> {
    server.count();
    // As TF Serving does: a body that is not JSON is said first, then a model that is not there.
    let found = server.model.find(Some(&spec)).map(|_| ());
    let read = read_predict(body, |name| found.is_err() || name == DEFAULT_SIGNATURE);
    let read = match (found, read) {
        (_, Err(fault)) if fault.message().starts_with("JSON Parse error") => return Err(fault),
        (Err(fault), _) => return Err(fault),
        (Ok(()), read) => read?,
    };
    spec.signature_name = read.signature_name;
    let request = PredictRequest { model_spec: Some(spec), inputs: read.inputs, output_filter: Vec::new() };
    let response = server.predict(&request).await?;
    let output = response.outputs.get(OUTPUT).ok_or_else(|| Status::internal("The model gave no output"))?;
    write_predict(output, read.form)
}

fn status(server: &Server, spec: ModelSpec) -> Result<String, Status> {
    let response = server.model.status(&GetModelStatusRequest { model_spec: Some(spec) })?;
    let versions: Vec<Value> = response
        .model_version_status
        .iter()
        .map(|version| {
            let health = version.status.clone().unwrap_or_default();
            json!({
                "version": version.version.to_string(),
                "state": State::try_from(version.state).unwrap_or(State::Unknown).as_str_name(),
                "status": {
                    "error_code": error::Code::try_from(health.error_code).unwrap_or(error::Code::Unknown).as_str_name(),
                    "error_message": health.error_message,
                },
            })
        })
        .collect();
    Ok(pretty(&json!({ "model_version_status": versions }), b" ") + "\n")
}

fn metadata(server: &Server, spec: ModelSpec) -> Result<String, Status> {
    let field = "signature_def".to_owned();
    server
        .model
        .metadata(&GetModelMetadataRequest { model_spec: Some(spec), metadata_field: vec![field] })?;
    let signature = signature();
    let tensors = |tensors: &std::collections::BTreeMap<String, TensorInfo>| {
        let written = tensors.iter().map(|(alias, info)| (alias.clone(), tensor_info(info)));
        Value::Object(written.collect())
    };
    let written = json!({
        "model_spec": {
            "name": server.model.name,
            "signature_name": "",
            "version": server.model.version.to_string(),
        },
        "metadata": { "signature_def": { "signature_def": { DEFAULT_SIGNATURE: {
            "inputs": tensors(&signature.inputs),
            "outputs": tensors(&signature.outputs),
            "method_name": signature.method_name,
        } } } },
    });
    Ok(pretty(&written, b" ") + "\n")
}

fn tensor_info(info: &TensorInfo) -> Value {
    let Some(Encoding::Name(name)) = &info.encoding else { return Value::Null };
    let shape = info.tensor_shape.clone().unwrap_or_default();
    let dims = shape.dim.iter().map(|dim| json!({ "size": dim.size.to_string(), "name": dim.name }));
    json!({
        "dtype": DataType::try_from(info.dtype).unwrap_or(DataType::DtInvalid).as_str_name(),
        "tensor_shape": { "dim": dims.collect::<Vec<_>>(), "unknown_rank": shape.unknown_rank },
        "name": name,
    })
}

fn pretty(value: &Value, indent: &[u8]) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    // A value made of strings and numbers, written to memory, cannot fail; an empty body would say so if it did.
    let written = serde::Serialize::serialize(value, &mut serializer);
    written.map_or_else(|_| String::new(), |()| String::from_utf8_lossy(&out).into_owned())
}
