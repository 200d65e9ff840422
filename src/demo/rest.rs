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
use crate::words::GrpcStatus;

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
    let known = u8::try_from(i32::from(code)).ok().and_then(|code| GrpcStatus::ALL.get(usize::from(code)));
    let http = known.map_or(500, |status| status.to_http());
    StatusCode::from_u16(http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
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

#[cfg(test)]
mod tests {
    use hyper::client::conn::http1 as client;

    use super::*;
    use crate::demo::model_server::{ModelServer, Options};

    async fn server(version: u32) -> ModelServer {
        let options = Options { labels: vec!["canary".to_owned()], ..Options::default() };
        ModelServer::start(version, options).await.unwrap()
    }

    async fn exchange(server: &ModelServer, request: Request<Full<Bytes>>) -> (u16, HeaderMap, String) {
        let stream = TcpStream::connect(server.rest_addr()).await.unwrap();
        let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, headers, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn call(server: &ModelServer, method: &str, path: &str, body: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "demo");
        let (status, headers, body) =
            exchange(server, request.body(Full::from(body.to_owned())).unwrap()).await;
        assert_eq!(headers[header::CONTENT_TYPE], "application/json");
        (status, body)
    }

    /// The error's text, with its status.
    async fn refusal(server: &ModelServer, method: &str, path: &str, body: &str) -> (u16, String) {
        let (status, body) = call(server, method, path, body).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        (status, body["error"].as_str().unwrap().to_owned())
    }

    #[test]
    fn the_http_status_of_each_code_is_tf_servings() {
        // By the number of the code, from 0 (OK) to 16 (UNAUTHENTICATED).
        let table = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];
        for (code, expected) in (0..).zip(table) {
            assert_eq!(http_status(Code::from_i32(code)).as_u16(), expected, "of code {code}");
        }
    }

    #[test]
    fn a_path_means_what_tf_servings_patterns_say() {
        let spec = |choice| ModelSpec {
            name: "m".to_owned(),
            version_choice: choice,
            signature_name: String::new(),
        };
        let version = Some(VersionChoice::Version(7));
        let label = Some(VersionChoice::VersionLabel("a b".to_owned()));
        let post = |path: &str| Call::read(&Method::POST, path).map_err(|fault| fault.message().to_owned());
        let get = |path: &str| Call::read(&Method::GET, path).map_err(|fault| fault.message().to_owned());
        assert_eq!(post("/v1/models/m:predict"), Ok(Call::Predict(spec(None))));
        assert_eq!(post("/V1/Models/m/Versions/7:predict"), Ok(Call::Predict(spec(version.clone()))));
        assert_eq!(post("/v1/models/m/labels/a%20b:predict"), Ok(Call::Predict(spec(label.clone()))));
        assert_eq!(post("/v1/models/m:classify"), Ok(Call::Other(spec(None), "classification")));
        assert_eq!(get("/v1/models/m"), Ok(Call::Status(spec(None))));
        assert_eq!(get("/v1/models/m/versions/7"), Ok(Call::Status(spec(version.clone()))));
        assert_eq!(get("/v1/models/m/metadata"), Ok(Call::Metadata(spec(None))));
        assert_eq!(get("/v1/models/m/labels/a%20b/metadata"), Ok(Call::Metadata(spec(label))));
        assert_eq!(get("/v1/models"), Err("Missing model name in request.".to_owned()));
        let malformed = |method: &str, path: &str| Err(format!("Malformed request: {method} {path}"));
        for path in
            ["/v1/models/m", "/v1/models/m:train", "/v1/models/:predict", "/v1/models/m/versions/x:predict"]
        {
            assert_eq!(post(path), malformed("POST", path));
        }
        for path in
            ["/v1/models/m:predict", "/v1/models/m/other", "/v1/m", "/v1/modelsm", "/v1/models/m/versions/7/"]
        {
            assert_eq!(get(path), malformed("GET", path));
        }
        let long = "/v1/models/m/versions/99999999999999999999";
        assert_eq!(get(long), Err("Failed to convert version: 99999999999999999999 to numeric.".to_owned()));
    }

    #[tokio::test]
    async fn version_1_adds_two_and_version_2_adds_three() {
        let path = "/v1/models/half_plus_two:predict";
        let (one, two) = (server(1).await, server(2).await);
        let rows = r#"{"instances": [1.0, 2.0, 5.0]}"#;
        let expected = "{\n    \"predictions\": [2.5, 3.0, 4.5\n    ]\n}".to_owned();
        assert_eq!(call(&one, "POST", path, rows).await, (200, expected));
        let expected = "{\n    \"predictions\": [3.5, 4.0, 5.5\n    ]\n}".to_owned();
        assert_eq!(call(&two, "POST", path, rows).await, (200, expected));
        let columns = call(&two, "POST", path, r#"{"inputs": {"x": [[1.0]]}}"#).await;
        let read: Value = serde_json::from_str(&columns.1).unwrap();
        assert_eq!(read, json!({ "outputs": [[3.5]] }));
        assert_eq!((one.requests(), two.requests()), (1, 2));
    }

    #[tokio::test]
    async fn a_version_or_a_label_in_the_path_must_be_the_servers() {
        let server = server(2).await;
        let body = r#"{"instances": [1.0]}"#;
        let path = |choice: &str| format!("/v1/models/half_plus_two{choice}:predict");
        assert_eq!(call(&server, "POST", &path("/versions/2"), body).await.0, 200);
        assert_eq!(call(&server, "POST", &path("/labels/canary"), body).await.0, 200);
        let absent = "Servable not found for request: Specific(half_plus_two, 1)".to_owned();
        assert_eq!(refusal(&server, "POST", &path("/versions/1"), body).await, (404, absent));
        let unknown = "Unrecognized servable version label: stable".to_owned();
        assert_eq!(refusal(&server, "POST", &path("/labels/stable"), body).await, (400, unknown));
        let absent = "Servable not found for request: Latest(other)".to_owned();
        assert_eq!(refusal(&server, "POST", "/v1/models/other:predict", body).await, (404, absent));
    }

    #[tokio::test]
    async fn faults_of_a_body_are_bad_requests_that_say_what_is_wrong() {
        let server = server(1).await;
        let path = "/v1/models/half_plus_two:predict";
        for (body, part) in [
            ("", "The document is empty"),
            ("{\"instances\": [1.0", "JSON Parse error"),
            ("{}", "Missing 'inputs' or 'instances' key"),
            (r#"{"instances": ["one"]}"#, "is not of expected type: float"),
            (r#"{"instances": [{"z": 1}]}"#, "does not have named input: z"),
            (r#"{"signature_name": "nope", "instances": [1]}"#, "\"nope\" not found in signature def"),
        ] {
            let (status, error) = refusal(&server, "POST", path, body).await;
            assert_eq!(status, 400);
            assert!(error.contains(part), "{error:?} does not tell of {part:?}");
        }
        assert_eq!(server.requests(), 6);
        let (status, _) = refusal(&server, "POST", "/v1/models/half_plus_two:classify", "{}").await;
        assert_eq!(status, 400);
    }

    #[tokio::test]
    async fn status_and_metadata_are_tf_servings_documents() {
        let server = server(1).await;
        let (status, body) = call(&server, "GET", "/v1/models/half_plus_two", "").await;
        let expected = "{\n \"model_version_status\": [\n  {\n   \"version\": \"1\",\n   \"state\": \"AVAILABLE\",\n   \
                        \"status\": {\n    \"error_code\": \"OK\",\n    \"error_message\": \"\"\n   }\n  }\n ]\n}\n";
        assert_eq!((status, body.as_str()), (200, expected));
        let (status, body) = call(&server, "GET", "/v1/models/half_plus_two/versions/1/metadata", "").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, 200);
        assert_eq!(
            body["model_spec"],
            json!({ "name": "half_plus_two", "signature_name": "", "version": "1" })
        );
        let signature = &body["metadata"]["signature_def"]["signature_def"]["serving_default"];
        assert_eq!(signature["method_name"], "tensorflow/serving/predict");
        assert_eq!(signature["inputs"]["x"]["dtype"], "DT_FLOAT");
        let absent = "Could not find any versions of model other".to_owned();
        assert_eq!(refusal(&server, "GET", "/v1/models/other", "").await, (404, absent));
        let absent = "Could not find version 9 of model half_plus_two".to_owned();
        assert_eq!(refusal(&server, "GET", "/v1/models/half_plus_two/versions/9", "").await, (404, absent));
        assert_eq!(refusal(&server, "GET", "/v1/models/other/metadata", "").await.0, 404);
    }

    #[tokio::test]
    async fn what_is_outside_the_api_is_not_found_and_what_is_malformed_inside_is_a_bad_request() {
        let server = server(1).await;
        let request = Request::get("/metrics").header(header::HOST, "demo").body(Full::default()).unwrap();
        assert_eq!(exchange(&server, request).await.0, 404);
        let malformed = "Malformed request: DELETE /v1/models/half_plus_two".to_owned();
        assert_eq!(refusal(&server, "DELETE", "/v1/models/half_plus_two", "").await, (400, malformed));
        assert_eq!(call(&server, "OPTIONS", "/v1/models/half_plus_two:predict", "").await.0, 400);
        let request =
            Request::options("/v1/x").header(header::ORIGIN, "https://page").header(header::HOST, "demo");
        assert_eq!(exchange(&server, request.body(Full::default()).unwrap()).await.0, 200);
    }
}
