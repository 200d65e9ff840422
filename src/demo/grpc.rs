//! The model server's gRPC side: TF Serving's PredictionService and ModelService.
//!
//! Law: it only carries messages between tonic and the model; every answer and every refusal is the model's.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::model_server::Server;
use crate::proto::tensorflow::serving::model_service_server::ModelService;
use crate::proto::tensorflow::serving::prediction_service_server::PredictionService;
use crate::proto::tensorflow::serving::{
    GetModelMetadataRequest, GetModelMetadataResponse, GetModelStatusRequest, GetModelStatusResponse,
    PredictRequest, PredictResponse,
};

/// Both services, on one model server.
#[derive(Clone, Debug)]
pub(super) struct Grpc(pub(super) Arc<Server>);

#[tonic::async_trait]
impl PredictionService for Grpc {
    async fn predict(&self, request: Request<PredictRequest>) -> Result<Response<PredictResponse>, Status> {
        self.0.count();
        self.0.predict(request.get_ref()).await.map(Response::new)
    }

    async fn get_model_metadata(
        &self,
        request: Request<GetModelMetadataRequest>,
    ) -> Result<Response<GetModelMetadataResponse>, Status> {
        self.0.model.metadata(request.get_ref()).map(Response::new)
    }
}

#[tonic::async_trait]
impl ModelService for Grpc {
    async fn get_model_status(
        &self,
        request: Request<GetModelStatusRequest>,
    ) -> Result<Response<GetModelStatusResponse>, Status> {
        self.0.model.status(request.get_ref()).map(Response::new)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tonic::Code;
    use tonic::transport::{Channel, Endpoint};

    use super::super::model_server::{ModelServer, Options};
    use crate::proto::tensorflow::serving::model_service_client::ModelServiceClient;
    use crate::proto::tensorflow::serving::model_spec::VersionChoice;
    use crate::proto::tensorflow::serving::model_version_status::State;
    use crate::proto::tensorflow::serving::prediction_service_client::PredictionServiceClient;
    use crate::proto::tensorflow::serving::*;
    use crate::proto::tensorflow::tensor_shape_proto::Dim;
    use crate::proto::tensorflow::{DataType, TensorProto, TensorShapeProto};

    async fn server(version: u32) -> (ModelServer, Channel) {
        let server = ModelServer::start(version, Options::default()).await.unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", server.grpc_addr())).unwrap();
        let channel = endpoint.connect().await.unwrap();
        (server, channel)
    }

    fn spec(name: &str, version: Option<i64>) -> Option<ModelSpec> {
        let version_choice = version.map(VersionChoice::Version);
        Some(ModelSpec { name: name.to_owned(), version_choice, signature_name: String::new() })
    }

    fn request(spec: Option<ModelSpec>, dtype: DataType) -> PredictRequest {
        let dim = vec![Dim { size: 3, name: String::new() }];
        let tensor = TensorProto {
            dtype: dtype.into(),
            tensor_shape: Some(TensorShapeProto { dim, unknown_rank: false }),
            tensor_content: [1.0_f32, 2.0, 5.0].iter().flat_map(|x| x.to_le_bytes()).collect(),
            ..TensorProto::default()
        };
        PredictRequest {
            model_spec: spec,
            inputs: BTreeMap::from([("x".to_owned(), tensor)]),
            output_filter: vec![],
        }
    }

    #[tokio::test]
    async fn version_1_adds_two_and_version_2_adds_three() {
        for (version, expected) in [(1, [2.5, 3.0, 4.5]), (2, [3.5, 4.0, 5.5])] {
            let (server, channel) = server(version).await;
            let request = request(spec("half_plus_two", None), DataType::DtFloat);
            let reply = PredictionServiceClient::new(channel).predict(request).await.unwrap().into_inner();
            assert_eq!(reply.outputs["y"].float_val, expected);
            assert_eq!(
                reply.model_spec.unwrap().version_choice,
                Some(VersionChoice::Version(version.into()))
            );
            assert_eq!(server.requests(), 1);
        }
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_prediction_is_told_by_its_status() {
        let (server, channel) = server(1).await;
        let mut client = PredictionServiceClient::new(channel);
        let good = || request(spec("half_plus_two", Some(1)), DataType::DtFloat);
        let mut no_input = good();
        no_input.inputs.clear();
        let mut no_signature = good();
        no_signature.model_spec.as_mut().unwrap().signature_name = "nope".to_owned();
        let cases = [
            (good(), Code::Ok),
            (request(spec("other", None), DataType::DtFloat), Code::NotFound),
            (request(spec("half_plus_two", Some(2)), DataType::DtFloat), Code::NotFound),
            (request(None, DataType::DtFloat), Code::InvalidArgument),
            (request(spec("half_plus_two", None), DataType::DtInt32), Code::InvalidArgument),
            (no_input, Code::InvalidArgument),
            (no_signature, Code::FailedPrecondition),
        ];
        let asked = cases.len();
        for (request, expected) in cases {
            let code = client.predict(request).await.map_or_else(|status| status.code(), |_| Code::Ok);
            assert_eq!(code, expected);
        }
        assert_eq!(server.requests(), u64::try_from(asked).unwrap());
    }

    #[tokio::test]
    async fn status_and_metadata_tell_the_version_that_is_there() {
        let (_server, channel) = server(2).await;
        let mut models = ModelServiceClient::new(channel.clone());
        let ask = |spec| GetModelStatusRequest { model_spec: spec };
        let reply = models.get_model_status(ask(spec("half_plus_two", None))).await.unwrap().into_inner();
        let [status] = reply.model_version_status.as_slice() else { panic!("one version was expected") };
        assert_eq!((status.version, status.state()), (2, State::Available));
        let code = models.get_model_status(ask(spec("half_plus_two", Some(1)))).await.unwrap_err().code();
        assert_eq!(code, Code::NotFound);
        let mut client = PredictionServiceClient::new(channel);
        let ask = |spec, field: &str| GetModelMetadataRequest {
            model_spec: spec,
            metadata_field: vec![field.to_owned()],
        };
        let reply =
            client.get_model_metadata(ask(spec("half_plus_two", None), "signature_def")).await.unwrap();
        assert!(
            reply.get_ref().metadata["signature_def"]
                .type_url
                .ends_with("/tensorflow.serving.SignatureDefMap")
        );
        let refused =
            client.get_model_metadata(ask(spec("half_plus_two", None), "assets")).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }

    #[tokio::test]
    async fn a_request_larger_than_grpcs_usual_four_mebibytes_is_answered_whole() {
        let (_server, channel) = server(1).await;
        let count = 2 * 1024 * 1024;
        let mut large = request(spec("half_plus_two", None), DataType::DtFloat);
        let tensor = large.inputs.get_mut("x").unwrap();
        tensor.tensor_shape.as_mut().unwrap().dim[0].size = count;
        tensor.tensor_content = vec![0; usize::try_from(count).unwrap() * 4];
        let mut client = PredictionServiceClient::new(channel).max_decoding_message_size(usize::MAX);
        let reply = client.predict(large).await.unwrap().into_inner();
        assert!(reply.outputs["y"].float_val.iter().all(|y| *y == 2.0));
    }

    #[tokio::test]
    async fn a_dropped_server_frees_its_ports() {
        let (server, channel) = server(1).await;
        let addrs = [server.grpc_addr(), server.rest_addr()];
        drop(server);
        drop(channel);
        for addr in addrs {
            // The listener goes as soon as its task sees the sign: yield to it until then.
            while tokio::net::TcpStream::connect(addr).await.is_ok() {
                tokio::task::yield_now().await;
            }
        }
    }
}
