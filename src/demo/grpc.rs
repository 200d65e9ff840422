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
