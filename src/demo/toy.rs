//! The toy model: TF's half plus two, in as many versions as wanted.
//!
//! Law: version N answers y = x / 2 + (N + 1), for float32 tensors of any shape; version 1 is TF's half_plus_two,
//! version 2 its half_plus_three. What is wrong with a request is said with TF Serving's own status and words.
//! It is pure: it must not know of sockets, HTTP or time.

use std::collections::{BTreeMap, BTreeSet};

use tonic::Status;

use crate::proto::tensorflow::serving::model_spec::VersionChoice;
use crate::proto::tensorflow::serving::model_version_status::State;
use crate::proto::tensorflow::serving::{
    GetModelMetadataRequest, GetModelMetadataResponse, GetModelStatusRequest, GetModelStatusResponse,
    ModelSpec, ModelVersionStatus, PredictRequest, PredictResponse, SignatureDefMap, StatusProto,
};
use crate::proto::tensorflow::tensor_info::Encoding;
use crate::proto::tensorflow::{DataType, SignatureDef, TensorInfo, TensorProto, TensorShapeProto, error};

/// The signature that a request means when it names none.
pub(super) const DEFAULT_SIGNATURE: &str = "serving_default";
/// The name of the model's only input.
pub(super) const INPUT: &str = "x";
/// The name of the model's only output.
pub(super) const OUTPUT: &str = "y";

const SIGNATURE_DEF_FIELD: &str = "signature_def";
const SIGNATURE_DEF_TYPE: &str = "type.googleapis.com/tensorflow.serving.SignatureDefMap";
const PREDICT_METHOD: &str = "tensorflow/serving/predict";

/// A shape in a request may claim more elements than it carries values (the last one is repeated): no more than these,
/// which are 64 MiB, the limit of a request itself.
const ELEMENTS_MAX: usize = 16 * 1024 * 1024;

/// One version of the model, as one model server holds it.
#[derive(Clone, Debug)]
pub(super) struct Model {
    /// The name that clients call it by.
    pub(super) name: String,
    /// Its version, and what it adds, less one.
    pub(super) version: i64,
    /// Labels that stand for this version.
    pub(super) labels: Vec<String>,
}

impl Model {
    /// Answers a prediction, whichever protocol it came by.
    pub(super) fn predict(&self, request: &PredictRequest) -> Result<PredictResponse, Status> {
        let spec = self.find(request.model_spec.as_ref())?;
        let signature_name = signature_name(&spec.signature_name);
        if signature_name != DEFAULT_SIGNATURE {
            let message = format!("Serving signature key \"{signature_name}\" not found.");
            return Err(Status::failed_precondition(message));
        }
        let input = only_input(&request.inputs)?;
        let (shape, values) = read_floats(input)?;
        check_output_filter(&request.output_filter)?;
        let output = TensorProto {
            dtype: DataType::DtFloat.into(),
            tensor_shape: Some(shape),
            float_val: values.into_iter().map(|x| self.apply(x)).collect(),
            ..TensorProto::default()
        };
        let mut model_spec = self.spec();
        model_spec.signature_name = signature_name.to_owned();
        Ok(PredictResponse {
            model_spec: Some(model_spec),
            outputs: BTreeMap::from([(OUTPUT.to_owned(), output)]),
        })
    }

    /// Tells the model's signatures.
    pub(super) fn metadata(
        &self,
        request: &GetModelMetadataRequest,
    ) -> Result<GetModelMetadataResponse, Status> {
        if request.model_spec.is_none() {
            return Err(Status::invalid_argument("Missing ModelSpec"));
        }
        if request.metadata_field.is_empty() {
            let message = "GetModelMetadataRequest must specify at least one metadata_field";
            return Err(Status::invalid_argument(message));
        }
        if let Some(field) = request.metadata_field.iter().find(|field| *field != SIGNATURE_DEF_FIELD) {
            return Err(Status::invalid_argument(format!("Metadata field {field} is not supported")));
        }
        self.find(request.model_spec.as_ref())?;
        let map =
            SignatureDefMap { signature_def: BTreeMap::from([(DEFAULT_SIGNATURE.to_owned(), signature())]) };
        let any = prost_types::Any {
            type_url: SIGNATURE_DEF_TYPE.to_owned(),
            value: prost::Message::encode_to_vec(&map),
        };
        Ok(GetModelMetadataResponse {
            model_spec: Some(self.spec()),
            metadata: BTreeMap::from([(SIGNATURE_DEF_FIELD.to_owned(), any)]),
        })
    }

    /// Tells that the model is there. As in TF Serving, a label is not looked at.
    pub(super) fn status(&self, request: &GetModelStatusRequest) -> Result<GetModelStatusResponse, Status> {
        let Some(spec) = &request.model_spec else {
            return Err(Status::invalid_argument("Missing ModelSpec"));
        };
        if let Some(VersionChoice::Version(version)) = spec.version_choice {
            if spec.name != self.name || version != self.version {
                let message = format!("Could not find version {version} of model {}", spec.name);
                return Err(Status::not_found(message));
            }
        } else if spec.name != self.name {
            return Err(Status::not_found(format!("Could not find any versions of model {}", spec.name)));
        }
        let health = StatusProto { error_code: error::Code::Ok.into(), error_message: String::new() };
        let status = ModelVersionStatus {
            version: self.version,
            state: State::Available.into(),
            status: Some(health),
        };
        Ok(GetModelStatusResponse { model_version_status: vec![status] })
    }

    /// Whether a request for `spec` is for this model in this version.
    pub(super) fn find<'a>(&self, spec: Option<&'a ModelSpec>) -> Result<&'a ModelSpec, Status> {
        let spec = spec.ok_or_else(|| Status::invalid_argument("Missing ModelSpec"))?;
        if spec.name.is_empty() {
            return Err(Status::invalid_argument("ModelSpec has no name specified."));
        }
        let known_name = spec.name == self.name;
        match &spec.version_choice {
            None if known_name => Ok(spec),
            None => Err(Status::not_found(format!("Servable not found for request: Latest({})", spec.name))),
            Some(VersionChoice::Version(version)) if known_name && *version == self.version => Ok(spec),
            Some(VersionChoice::Version(version)) => {
                let message = format!("Servable not found for request: Specific({}, {version})", spec.name);
                Err(Status::not_found(message))
            }
            Some(VersionChoice::VersionLabel(label)) if known_name && self.labels.contains(label) => Ok(spec),
            Some(VersionChoice::VersionLabel(label)) => {
                Err(Status::invalid_argument(format!("Unrecognized servable version label: {label}")))
            }
        }
    }

    fn apply(&self, x: f32) -> f32 {
        // Exact for every version that anyone will start.
        #[expect(clippy::cast_precision_loss)]
        let offset = (self.version + 1) as f32;
        x / 2.0 + offset
    }

    fn spec(&self) -> ModelSpec {
        ModelSpec {
            name: self.name.clone(),
            version_choice: Some(VersionChoice::Version(self.version)),
            signature_name: String::new(),
        }
    }
}

/// What a request that names `asked` as its signature means.
pub(super) fn signature_name(asked: &str) -> &str {
    if asked.is_empty() { DEFAULT_SIGNATURE } else { asked }
}

/// The model's only signature: one float of any shape in, one out.
pub(super) fn signature() -> SignatureDef {
    let tensor = |alias: &str| {
        let info = TensorInfo {
            encoding: Some(Encoding::Name(format!("{alias}:0"))),
            dtype: DataType::DtFloat.into(),
            tensor_shape: Some(TensorShapeProto { dim: Vec::new(), unknown_rank: true }),
        };
        BTreeMap::from([(alias.to_owned(), info)])
    };
    SignatureDef { inputs: tensor(INPUT), outputs: tensor(OUTPUT), method_name: PREDICT_METHOD.to_owned() }
}

fn only_input(inputs: &BTreeMap<String, TensorProto>) -> Result<&TensorProto, Status> {
    if inputs.len() != 1 {
        let sent: Vec<&str> = inputs.keys().map(String::as_str).collect();
        let extra: Vec<&str> = sent.iter().copied().filter(|name| *name != INPUT).collect();
        let missing = if inputs.contains_key(INPUT) { "" } else { INPUT };
        return Err(Status::invalid_argument(format!(
            "input size does not match signature: {}!=1 len({{{}}}) != len({{{INPUT}}}). Sent extra: {{{}}}. \
             Missing but required: {{{missing}}}.",
            inputs.len(),
            sent.join(","),
            extra.join(","),
        )));
    }
    inputs.get(INPUT).ok_or_else(|| {
        let alias = inputs.keys().next().map_or("", String::as_str);
        Status::invalid_argument(format!(
            "input tensor alias not found in signature: {alias}. Inputs expected to be in the set {{{INPUT}}}."
        ))
    })
}

fn check_output_filter(filter: &[String]) -> Result<(), Status> {
    let mut seen = BTreeSet::new();
    for alias in filter {
        if alias != OUTPUT {
            return Err(Status::invalid_argument(format!(
                "output tensor alias not found in signature: {alias} Outputs expected to be in the set {{{OUTPUT}}}."
            )));
        }
        if !seen.insert(alias) {
            return Err(Status::invalid_argument(format!("duplicate output tensor alias: {alias}")));
        }
    }
    Ok(())
}

/// The shape and the values of a float tensor, read as TensorFlow reads them: from `tensor_content` if there is any, else
/// from `float_val`, whose last value stands for those that are missing.
fn read_floats(tensor: &TensorProto) -> Result<(TensorShapeProto, Vec<f32>), Status> {
    let unreadable = || Status::invalid_argument(format!("tensor parsing error: {INPUT}"));
    let dtype = DataType::try_from(tensor.dtype).map_err(|_| unreadable())?;
    let shape = tensor.tensor_shape.clone().unwrap_or_default();
    if dtype == DataType::DtInvalid || shape.unknown_rank {
        return Err(unreadable());
    }
    if dtype != DataType::DtFloat {
        let name = dtype.as_str_name().trim_start_matches("DT_").to_ascii_lowercase();
        return Err(Status::invalid_argument(format!("Expects arg[0] to be float but {name} is provided")));
    }
    let mut count: usize = 1;
    for dim in &shape.dim {
        let size = usize::try_from(dim.size).map_err(|_| unreadable())?;
        count = count.checked_mul(size).ok_or_else(unreadable)?;
    }
    if count > ELEMENTS_MAX {
        let message = format!("OOM when allocating tensor with {count} elements: at most {ELEMENTS_MAX}");
        return Err(Status::resource_exhausted(message));
    }
    let values = if tensor.tensor_content.is_empty() {
        let last = tensor.float_val.last().copied().unwrap_or_default();
        let mut values = tensor.float_val.clone();
        values.resize(count, last);
        values
    } else {
        let (words, rest) = tensor.tensor_content.as_chunks::<4>();
        if words.len() != count || !rest.is_empty() {
            return Err(unreadable());
        }
        words.iter().map(|word| f32::from_le_bytes(*word)).collect()
    };
    Ok((shape, values))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tonic::Code;

    use super::*;
    use crate::proto::tensorflow::tensor_shape_proto::Dim;

    fn model(version: i64) -> Model {
        Model { name: "half_plus_two".to_owned(), version, labels: vec!["canary".to_owned()] }
    }

    fn spec(name: &str) -> ModelSpec {
        ModelSpec { name: name.to_owned(), ..ModelSpec::default() }
    }

    fn float_tensor(shape: &[i64], values: &[f32]) -> TensorProto {
        TensorProto {
            dtype: DataType::DtFloat.into(),
            tensor_shape: Some(TensorShapeProto {
                dim: shape.iter().map(|&size| Dim { size, name: String::new() }).collect(),
                unknown_rank: false,
            }),
            float_val: values.to_vec(),
            ..TensorProto::default()
        }
    }

    fn request(tensor: TensorProto) -> PredictRequest {
        PredictRequest {
            model_spec: Some(spec("half_plus_two")),
            inputs: BTreeMap::from([(INPUT.to_owned(), tensor)]),
            output_filter: Vec::new(),
        }
    }

    fn refusal(request: &PredictRequest) -> (Code, String) {
        let status = model(1).predict(request).unwrap_err();
        (status.code(), status.message().to_owned())
    }

    proptest! {
        #[test]
        fn version_n_answers_half_of_x_plus_n_plus_one(version in 1i64..100, xs in prop::collection::vec(-1e6f32..1e6, 0..50)) {
            let size = i64::try_from(xs.len()).unwrap();
            let reply = model(version).predict(&request(float_tensor(&[size], &xs))).unwrap();
            let expected: Vec<f32> = xs.iter().map(|x| x / 2.0 + (version + 1) as f32).collect();
            prop_assert_eq!(&reply.outputs[OUTPUT].float_val, &expected);
        }

        #[test]
        fn tensor_content_and_float_val_mean_the_same(xs in prop::collection::vec(-1e6f32..1e6, 1..50)) {
            let size = i64::try_from(xs.len()).unwrap();
            let listed = float_tensor(&[size], &xs);
            let mut packed = float_tensor(&[size], &[]);
            packed.tensor_content = xs.iter().flat_map(|x| x.to_le_bytes()).collect();
            prop_assert_eq!(model(1).predict(&request(listed)).unwrap(), model(1).predict(&request(packed)).unwrap());
        }

        #[test]
        fn the_output_has_the_shape_of_the_input(shape in prop::collection::vec(0i64..4, 0..5)) {
            let reply = model(1).predict(&request(float_tensor(&shape, &[1.0]))).unwrap();
            let sizes: Vec<i64> = reply.outputs[OUTPUT].tensor_shape.as_ref().unwrap().dim.iter().map(|d| d.size).collect();
            prop_assert_eq!(&sizes, &shape);
            let count: i64 = shape.iter().product();
            prop_assert_eq!(reply.outputs[OUTPUT].float_val.len(), usize::try_from(count).unwrap());
        }
    }

    #[test]
    fn a_reply_names_the_version_and_the_signature_that_made_it() {
        let reply = model(2).predict(&request(float_tensor(&[], &[1.0]))).unwrap();
        let spec = reply.model_spec.unwrap();
        assert_eq!(spec.version_choice, Some(VersionChoice::Version(2)));
        assert_eq!(spec.signature_name, DEFAULT_SIGNATURE);
        assert_eq!(reply.outputs[OUTPUT].float_val, [3.5]);
    }

    #[test]
    fn values_that_are_missing_repeat_the_last_one() {
        let reply = model(1).predict(&request(float_tensor(&[3], &[2.0, 4.0]))).unwrap();
        assert_eq!(reply.outputs[OUTPUT].float_val, [3.0, 4.0, 4.0]);
    }

    #[test]
    fn a_tensor_that_is_not_float_is_an_invalid_argument() {
        let mut tensor = float_tensor(&[1], &[]);
        tensor.dtype = DataType::DtDouble.into();
        tensor.double_val = vec![1.0];
        let expected = "Expects arg[0] to be float but double is provided".to_owned();
        assert_eq!(refusal(&request(tensor)), (Code::InvalidArgument, expected));
    }

    #[test]
    fn a_tensor_that_contradicts_its_shape_is_an_invalid_argument() {
        let mut short = float_tensor(&[2], &[]);
        short.tensor_content = vec![0; 7];
        let mut unknown_rank = float_tensor(&[], &[1.0]);
        unknown_rank.tensor_shape.as_mut().unwrap().unknown_rank = true;
        for tensor in [short, unknown_rank, float_tensor(&[-1], &[1.0]), float_tensor(&[i64::MAX, 8], &[1.0])]
        {
            assert_eq!(
                refusal(&request(tensor)),
                (Code::InvalidArgument, "tensor parsing error: x".to_owned())
            );
        }
    }

    #[test]
    fn a_shape_that_claims_more_than_a_request_can_carry_is_refused_before_it_is_allocated() {
        let (code, _) = refusal(&request(float_tensor(&[1 << 20, 1 << 20], &[1.0])));
        assert_eq!(code, Code::ResourceExhausted);
    }

    #[test]
    fn a_missing_or_misnamed_or_extra_input_is_an_invalid_argument() {
        let mut missing = request(float_tensor(&[], &[]));
        missing.inputs.clear();
        assert_eq!(
            refusal(&missing),
            (
                Code::InvalidArgument,
                "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}."
                    .to_owned()
            )
        );
        let mut misnamed = missing.clone();
        misnamed.inputs.insert("z".to_owned(), float_tensor(&[], &[]));
        assert_eq!(refusal(&misnamed).0, Code::InvalidArgument);
        let mut extra = misnamed.clone();
        extra.inputs.insert(INPUT.to_owned(), float_tensor(&[], &[]));
        assert!(refusal(&extra).1.ends_with("Sent extra: {z}. Missing but required: {}."));
    }

    #[test]
    fn an_unknown_signature_is_a_failed_precondition() {
        let mut asked = request(float_tensor(&[], &[1.0]));
        asked.model_spec.as_mut().unwrap().signature_name = "nope".to_owned();
        let expected = "Serving signature key \"nope\" not found.".to_owned();
        assert_eq!(refusal(&asked), (Code::FailedPrecondition, expected));
    }

    #[test]
    fn an_unknown_model_or_version_is_not_found_and_an_unknown_label_is_invalid() {
        let find = |name: &str, choice: Option<VersionChoice>| {
            let spec = ModelSpec { version_choice: choice, ..spec(name) };
            model(1).find(Some(&spec)).map(|_| ()).map_err(|status| status.code())
        };
        let version = |number| Some(VersionChoice::Version(number));
        let label = |text: &str| Some(VersionChoice::VersionLabel(text.to_owned()));
        assert_eq!(find("half_plus_two", None), Ok(()));
        assert_eq!(find("half_plus_two", version(1)), Ok(()));
        assert_eq!(find("half_plus_two", label("canary")), Ok(()));
        assert_eq!(find("half_plus_two", version(2)), Err(Code::NotFound));
        assert_eq!(find("other", None), Err(Code::NotFound));
        assert_eq!(find("other", version(1)), Err(Code::NotFound));
        assert_eq!(find("half_plus_two", label("stable")), Err(Code::InvalidArgument));
        assert_eq!(find("", None), Err(Code::InvalidArgument));
    }

    #[test]
    fn an_output_filter_may_name_the_output_once_and_nothing_else() {
        let mut asked = request(float_tensor(&[], &[1.0]));
        asked.output_filter = vec![OUTPUT.to_owned()];
        assert!(model(1).predict(&asked).is_ok());
        asked.output_filter = vec![OUTPUT.to_owned(), OUTPUT.to_owned()];
        assert_eq!(refusal(&asked).0, Code::InvalidArgument);
        asked.output_filter = vec!["z".to_owned()];
        assert_eq!(refusal(&asked).0, Code::InvalidArgument);
    }

    #[test]
    fn metadata_must_ask_for_the_signatures_and_nothing_else() {
        let ask = |fields: &[&str]| {
            model(1).metadata(&GetModelMetadataRequest {
                model_spec: Some(spec("half_plus_two")),
                metadata_field: fields.iter().map(|&field| field.to_owned()).collect(),
            })
        };
        assert_eq!(ask(&[]).unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(ask(&["assets"]).unwrap_err().code(), Code::InvalidArgument);
        let reply = ask(&[SIGNATURE_DEF_FIELD]).unwrap();
        let any = &reply.metadata[SIGNATURE_DEF_FIELD];
        let map: SignatureDefMap = prost::Message::decode(any.value.as_slice()).unwrap();
        assert_eq!(map.signature_def[DEFAULT_SIGNATURE], signature());
    }
}
