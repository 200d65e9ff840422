//! A health check of a model: TensorFlow Serving says that it is AVAILABLE.
//!
//! By REST (`GET /v1/models/NAME`) where the cluster speaks HTTP/1 or what its callers speak, by gRPC
//! (`tensorflow.serving.ModelService/GetModelStatus`) where it speaks HTTP/2. Source: TF Serving's
//! `get_model_status.proto`.

use bytes::BytesMut;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::Found;
use super::grpc::{Called, call};
use super::http::get;
use crate::message::protobuf::{Field, fields, number, put_bytes, put_integer, put_text};
use crate::snapshot::{Cluster, UpstreamProtocol};
use crate::transport::io::Stream;
use crate::upstream::ask::Wanted;

/// `ModelVersionStatus.State`
const AVAILABLE: u64 = 30;
/// What may stand in a path as it is.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Asks an endpoint for a model, in any of its versions or in one.
pub(super) async fn ask(stream: Stream, name: &str, version: Option<u64>, cluster: &Cluster) -> Found {
    if cluster.protocol == UpstreamProtocol::Http2 {
        let path = "/tensorflow.serving.ModelService/GetModelStatus";
        return match call(stream, &cluster.service, path, &question(name, version)).await {
            Called::Silent => Found::Silent,
            Called::Answer(message) if says_available(&message, version) => Found::Well,
            Called::Answer(_) | Called::Refused => Found::Ill,
        };
    }
    let path = path(name, version);
    match get(stream, (&path, &cluster.service), &[], cluster.protocol, Wanted::Whole).await {
        None => Found::Silent,
        Some(answer) if answer.status.as_u16() == 200 && json_says_available(&answer.body, version) => {
            Found::Well
        }
        Some(_) => Found::Ill,
    }
}

fn path(name: &str, version: Option<u64>) -> String {
    let name = utf8_percent_encode(name, IN_PATH);
    match version {
        Some(version) => format!("/v1/models/{name}/versions/{version}"),
        None => format!("/v1/models/{name}"),
    }
}

/// `{"model_version_status": [{"version": "1", "state": "AVAILABLE"}]}`
pub fn json_says_available(body: &[u8], version: Option<u64>) -> bool {
    let Ok(answer) = serde_json::from_slice::<Value>(body) else { return false };
    let statuses = answer["model_version_status"].as_array();
    statuses.into_iter().flatten().any(|status| {
        let is_meant = version.is_none_or(|version| status["version"] == version.to_string().as_str());
        is_meant && status["state"] == "AVAILABLE"
    })
}

/// `GetModelStatusRequest{model_spec: ModelSpec{name: 1, version: Int64Value{value: 1} = 2} = 1}`
fn question(name: &str, version: Option<u64>) -> BytesMut {
    let (mut spec, mut question) = (BytesMut::new(), BytesMut::new());
    put_text(&mut spec, 1, name);
    if let Some(version) = version {
        let mut value = BytesMut::new();
        put_integer(&mut value, 1, version);
        put_bytes(&mut spec, 2, &value);
    }
    put_bytes(&mut question, 1, &spec);
    question
}

/// `GetModelStatusResponse{repeated ModelVersionStatus{version: 1, state: 2} = 1}`
pub fn says_available(message: &[u8], version: Option<u64>) -> bool {
    let statuses = fields(message).unwrap_or_default().into_iter().filter_map(|field| match field {
        Field::Bytes(1, status) => Some(fields(status)),
        _ => None,
    });
    let Some(statuses) = statuses.collect::<Option<Vec<_>>>() else { return false };
    statuses.iter().any(|status| {
        number(status, 2) == AVAILABLE && version.is_none_or(|version| number(status, 1) == version)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_says_available_of_the_version_that_is_meant_alone() {
        let body = br#"{"model_version_status": [
            {"version": "2", "state": "LOADING", "status": {"error_code": "OK", "error_message": ""}},
            {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}]}"#;
        assert!(json_says_available(body, None) && json_says_available(body, Some(1)));
        assert!(!json_says_available(body, Some(2)) && !json_says_available(body, Some(3)));
        for nothing in
            ["", "[]", "{}", "{\"model_version_status\": 1}", "{\"model_version_status\": [1]}", "null"]
        {
            assert!(!json_says_available(nothing.as_bytes(), None), "{nothing}");
        }
    }

    #[test]
    fn grpc_says_available_of_the_version_that_is_meant_alone() {
        let mut message = BytesMut::new();
        for (version, state) in [(2, 20), (1, AVAILABLE)] {
            let mut status = BytesMut::new();
            put_integer(&mut status, 1, version);
            put_integer(&mut status, 2, state);
            put_bytes(&mut status, 3, &[]);
            put_bytes(&mut message, 1, &status);
        }
        assert!(says_available(&message, None) && says_available(&message, Some(1)));
        assert!(!says_available(&message, Some(2)) && !says_available(&message, Some(3)));
        assert!(!says_available(&[], None));
        for ending in [&[0xff][..], &[0x0a, 1, 0x10]] {
            let message = [&message, ending].concat();
            assert!(!says_available(&message, Some(1)), "not all of it has a reading");
        }
    }

    #[test]
    fn a_models_name_is_one_segment_of_the_path_whatever_stands_in_it() {
        assert_eq!(path("half_plus-2.b~", None), "/v1/models/half_plus-2.b~");
        assert_eq!(path("a/b c?d#\u{e9}", Some(7)), "/v1/models/a%2Fb%20c%3Fd%23%C3%A9/versions/7");
    }
}
