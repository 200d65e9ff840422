//! JSON to tensors and back, as TF Serving's REST API writes them.
//!
//! Law: `instances` (rows) is answered by `predictions`, `inputs` (columns) by `outputs`; NaN and the infinities stand
//! bare, both ways; a fault is INVALID_ARGUMENT in TF Serving's words. It must not know of paths, HTTP or the model's law.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;
use tonic::Status;

use super::toy::{INPUT, OUTPUT, signature_name};
use crate::proto::tensorflow::tensor_shape_proto::Dim;
use crate::proto::tensorflow::{DataType, TensorProto, TensorShapeProto};

/// How many characters of a faulty value an error shows.
const SHOWN_MAX_CHARS: usize = 200;

/// Marks a quoted NaN or infinity that stood bare in the request. No client's string begins with it by accident.
const BARE: &str = "\u{0}bare:";

/// How a request was laid out, and so how its reply is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// `instances`: a list of rows.
    Row,
    /// `inputs`: a column for each input.
    Columnar,
}

/// The body of a REST predict request.
#[derive(Debug)]
pub(super) struct PredictBody {
    /// As named by the request; empty means the default.
    pub(super) signature_name: String,
    /// The tensors by input name.
    pub(super) inputs: BTreeMap<String, TensorProto>,
    /// How they were laid out.
    pub(super) form: Form,
}

/// Reads a predict body. `knows_signature` tells whether the model has a signature of that name.
pub(super) fn read_predict(
    body: &[u8],
    knows_signature: impl Fn(&str) -> bool,
) -> Result<PredictBody, Status> {
    let document = parse(body)?;
    let name = match document.get("signature_name") {
        None => String::new(),
        Some(Value::String(name)) => name.clone(),
        Some(_) => {
            let fault = "not formatted correctly. 'signature_name' key must be a string value.";
            return Err(format_error(&document, fault));
        }
    };
    if !knows_signature(signature_name(&name)) {
        let name = signature_name(&name);
        let message = format!("Serving signature name: \"{name}\" not found in signature def");
        return Err(Status::invalid_argument(message));
    }
    let (tensor, form) = match (document.get("instances"), document.get("inputs")) {
        (Some(_), Some(_)) => {
            let fault =
                "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ";
            return Err(format_error(&document, fault));
        }
        (Some(Value::Array(rows)), None) if rows.is_empty() => {
            return Err(format_error(&document, "No values in 'instances' array"));
        }
        (Some(Value::Array(rows)), None) => (read_rows(rows)?, Form::Row),
        (Some(_), None) => return Err(format_error(&document, "Excepting 'instances' to be an list/array")),
        (None, Some(inputs)) => (read_columns(inputs)?, Form::Columnar),
        (None, None) => return Err(Status::invalid_argument("Missing 'inputs' or 'instances' key")),
    };
    Ok(PredictBody { signature_name: name, inputs: BTreeMap::from([(INPUT.to_owned(), tensor)]), form })
}

/// Writes the reply's only tensor in the form of the request.
pub(super) fn write_predict(tensor: &TensorProto, form: Form) -> Result<String, Status> {
    let shape: Vec<usize> =
        tensor.tensor_shape.iter().flat_map(|shape| &shape.dim).map(size_of_dim).collect();
    let mut out = String::new();
    let mut values = tensor.float_val.iter();
    match form {
        Form::Row => {
            let Some((rows, row_shape)) = shape.split_first() else {
                let message = format!("Tensor name: {OUTPUT} has no shape information ");
                return Err(Status::invalid_argument(message));
            };
            out.push_str("{\n    \"predictions\": [");
            for row in 0..*rows {
                out.push_str(if row == 0 { "" } else { ", " });
                write_values(&mut out, row_shape, &mut values, None);
            }
            out.push_str("\n    ]\n}");
        }
        Form::Columnar => {
            out.push_str("{\n    \"outputs\": ");
            write_values(&mut out, &shape, &mut values, Some(1));
            out.push_str("\n}");
        }
    }
    Ok(out)
}

fn size_of_dim(dim: &Dim) -> usize {
    usize::try_from(dim.size).unwrap_or_default()
}

/// Writes nested lists: on one line, or, as TF Serving does for columns, one value a line at `depth`.
fn write_values(
    out: &mut String,
    shape: &[usize],
    values: &mut std::slice::Iter<'_, f32>,
    depth: Option<usize>,
) {
    let Some((size, inner)) = shape.split_first() else {
        write_decimal(out, values.next().copied().unwrap_or_default());
        return;
    };
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&"    ".repeat(depth));
    };
    out.push('[');
    for item in 0..*size {
        match depth {
            Some(depth) => {
                out.push_str(if item == 0 { "" } else { "," });
                line(out, depth + 1);
            }
            None => out.push_str(if item == 0 { "" } else { ", " }),
        }
        write_values(out, inner, values, depth.map(|depth| depth + 1));
    }
    if let (Some(depth), true) = (depth, *size > 0) {
        line(out, depth);
    }
    out.push(']');
}

fn write_decimal(out: &mut String, value: f32) {
    // Writing to a String cannot fail.
    let _ = match value {
        _ if value.is_nan() => out.write_str("NaN"),
        _ if value.is_infinite() => out.write_str(if value > 0.0 { "Infinity" } else { "-Infinity" }),
        // The debug form keeps the ".0" of whole numbers, as TF Serving does, and reads back to the same float.
        _ => write!(out, "{value:?}"),
    };
}

fn parse(body: &[u8]) -> Result<Value, Status> {
    if body.is_empty() {
        return Err(Status::invalid_argument("JSON Parse error: The document is empty"));
    }
    let quoted = quote_bare(body);
    let document: Value = serde_json::from_slice(&quoted).map_err(|fault| {
        let line_start = quoted.split_inclusive(|byte| *byte == b'\n').take(fault.line().saturating_sub(1));
        let offset = line_start.map(<[u8]>::len).sum::<usize>() + fault.column().saturating_sub(1);
        let text = fault.to_string();
        let reason = text.split(" at line ").next().unwrap_or_default();
        Status::invalid_argument(format!("JSON Parse error: {reason} at offset: {offset}"))
    })?;
    if document.is_object() { Ok(document) } else { Err(format_error(&document, "Is not object")) }
}

/// Quotes the NaN, Inf and Infinity that TF Serving allows and JSON does not.
fn quote_bare(body: &[u8]) -> Cow<'_, [u8]> {
    let mut out = Vec::new();
    let (mut copied, mut at, mut in_string) = (0, 0, false);
    while at < body.len() {
        let width = match body[at] {
            b'\\' if in_string => 2,
            b'"' => {
                in_string = !in_string;
                1
            }
            b'-' | b'N' | b'I' if !in_string => {
                let token = ["NaN", "-NaN", "Infinity", "-Infinity", "Inf", "-Inf"];
                let found = token.iter().find(|token| body[at..].starts_with(token.as_bytes()));
                if let Some(token) = found {
                    out.extend_from_slice(&body[copied..at]);
                    out.extend_from_slice(format!("\"\\u0000{}{token}\"", &BARE[1..]).as_bytes());
                    copied = at + token.len();
                }
                found.map_or(1, |token| token.len())
            }
            _ => 1,
        };
        at += width;
    }
    if copied == 0 {
        return Cow::Borrowed(body);
    }
    out.extend_from_slice(&body[copied..]);
    Cow::Owned(out)
}

fn read_rows(rows: &[Value]) -> Result<TensorProto, Status> {
    let are_objects = rows.first().is_some_and(is_named);
    let mut first_shape = None;
    let mut values = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let shape = if are_objects {
            read_named_row(index, row, &mut values)?
        } else if is_named(row) {
            let message = format!("Expecting value/list but got object at item {index} of input list");
            return Err(Status::invalid_argument(message));
        } else {
            read_dense(row, &mut values).map_err(|fault| in_element(index, "", &fault))?
        };
        let first = first_shape.get_or_insert_with(|| shape.clone());
        if *first != shape {
            let message = format!("Expecting shape {} but got: {}", show_shape(first), show_shape(&shape));
            return Err(in_element(index, "", &Status::invalid_argument(message)));
        }
    }
    let mut shape = vec![rows.len()];
    shape.extend(first_shape.unwrap_or_default());
    Ok(float_tensor(&shape, values))
}

/// A row in the form `{"x": value}`.
fn read_named_row(index: usize, row: &Value, values: &mut Vec<f32>) -> Result<Vec<usize>, Status> {
    let Some(row_keys) = row.as_object().filter(|_| is_named(row)) else {
        let message = format!("Expecting object but got list at item {index} of input list");
        return Err(Status::invalid_argument(message));
    };
    if let Some(name) = row_keys.keys().find(|name| *name != INPUT) {
        let fault = Status::invalid_argument(format!("JSON object: does not have named input: {name}"));
        return Err(in_element(index, &format!(" key: {name}"), &fault));
    }
    let Some(value) = row_keys.get(INPUT) else {
        return Err(Status::invalid_argument(format!(
            "Failed to process element: {index} of 'instances' list. JSON object: {} keys must be equal to: {INPUT}",
            show(row)
        )));
    };
    read_dense(value, values).map_err(|fault| in_element(index, &format!(" key: {INPUT}"), &fault))
}

fn read_columns(inputs: &Value) -> Result<TensorProto, Status> {
    let value = match inputs {
        Value::Object(named) if is_named(inputs) => named.get(INPUT).ok_or_else(|| {
            Status::invalid_argument(format!("Missing named input: {INPUT} in 'inputs' object."))
        })?,
        plain => plain,
    };
    let mut values = Vec::new();
    let shape = read_dense(value, &mut values)?;
    Ok(float_tensor(&shape, values))
}

/// Whether a value maps input names to values, and is not binary data.
fn is_named(value: &Value) -> bool {
    value.as_object().is_some_and(|keys| !(keys.len() == 1 && keys.get("b64").is_some_and(Value::is_string)))
}

fn float_tensor(shape: &[usize], values: Vec<f32>) -> TensorProto {
    let dim = |size: &usize| Dim { size: i64::try_from(*size).unwrap_or(i64::MAX), name: String::new() };
    TensorProto {
        dtype: DataType::DtFloat.into(),
        tensor_shape: Some(TensorShapeProto { dim: shape.iter().map(dim).collect(), unknown_rank: false }),
        float_val: values,
        ..TensorProto::default()
    }
}

/// Appends a value or nested lists of values, all of the shape that the first ones have, and tells that shape.
fn read_dense(value: &Value, values: &mut Vec<f32>) -> Result<Vec<usize>, Status> {
    let mut shape = Vec::new();
    let mut first = Some(value);
    while let Some(Value::Array(items)) = first {
        shape.push(items.len());
        first = items.first();
    }
    fill(value, 0, &shape, values)?;
    Ok(shape)
}

// Depth is bounded: the JSON reader refuses more than 128 levels.
fn fill(value: &Value, level: usize, shape: &[usize], values: &mut Vec<f32>) -> Result<(), Status> {
    let Value::Array(items) = value else {
        if level != shape.len() {
            return Err(Status::invalid_argument(format!(
                "JSON Value: {} found at incorrect level: {} in the JSON DOM. Expected at level: {}",
                show(value),
                level + 1,
                shape.len()
            )));
        }
        values.push(read_float(value)?);
        return Ok(());
    };
    let Some(expected) = shape.get(level) else {
        let message = format!("Encountered list at unexpected level: {level} expected < {}", shape.len());
        return Err(Status::invalid_argument(message));
    };
    if items.len() != *expected {
        return Err(Status::invalid_argument(format!(
            "Encountered list at unexpected size: {} at level: {level} expected size: {expected}",
            items.len()
        )));
    }
    items.iter().try_for_each(|item| fill(item, level + 1, shape, values))
}

fn read_float(value: &Value) -> Result<f32, Status> {
    /// The largest whole number below which float32 holds every one.
    const WHOLE_MAX: u64 = (1 << f32::MANTISSA_DIGITS) - 1;
    let kind = match value {
        Value::Number(number) => {
            let whole = number.as_u64().or(number.as_i64().map(i64::unsigned_abs));
            let double = number.as_f64().unwrap_or(f64::INFINITY);
            if whole.is_some_and(|whole| whole > WHOLE_MAX) || double.abs() > f64::from(f32::MAX) {
                let message =
                    format!("Cannot convert JSON value: {} to float without loss of precision.", show(value));
                return Err(Status::invalid_argument(message));
            }
            // Rounding to the nearest float is what a float model asks for.
            #[expect(clippy::cast_possible_truncation)]
            return Ok(double as f32);
        }
        Value::String(text) => match text.strip_prefix(BARE) {
            Some("Infinity" | "Inf") => return Ok(f32::INFINITY),
            Some("-Infinity" | "-Inf") => return Ok(f32::NEG_INFINITY),
            Some(_) => return Ok(f32::NAN),
            None => "String",
        },
        Value::Null => "Null",
        Value::Bool(false) => "False",
        Value::Bool(true) => "True",
        Value::Array(_) => "Array",
        Value::Object(_) => "Object",
    };
    let message = format!("JSON Value: {} Type: {kind} is not of expected type: float", show(value));
    Err(Status::invalid_argument(message))
}

fn in_element(index: usize, key: &str, fault: &Status) -> Status {
    Status::invalid_argument(format!(
        "Failed to process element: {index}{key} of 'instances' list. Error: INVALID_ARGUMENT: {}",
        fault.message()
    ))
}

fn format_error(document: &Value, fault: &str) -> Status {
    Status::invalid_argument(format!("JSON Value: {} {fault}", show(document)))
}

fn show(value: &Value) -> String {
    let text = value.to_string();
    let text = text.replace("\"\\u0000bare:", "\"");
    match text.char_indices().nth(SHOWN_MAX_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn show_shape(shape: &[usize]) -> String {
    let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
    format!("[{}]", sizes.join(","))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tonic::Code;

    use super::*;

    fn read(body: &str) -> Result<PredictBody, Status> {
        read_predict(body.as_bytes(), |name| name == "serving_default")
    }

    fn tensor(body: &str) -> (Vec<i64>, Vec<f32>) {
        let tensor = read(body).unwrap().inputs.remove(INPUT).unwrap();
        (tensor.tensor_shape.unwrap().dim.iter().map(|dim| dim.size).collect(), tensor.float_val)
    }

    fn fault(body: &str) -> String {
        let status = read(body).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        status.message().to_owned()
    }

    #[test]
    fn rows_may_be_plain_or_named_and_of_any_rank() {
        assert_eq!(tensor(r#"{"instances": [1.0, 2, 5.0]}"#), (vec![3], vec![1.0, 2.0, 5.0]));
        assert_eq!(tensor(r#"{"instances": [{"x": 1.0}, {"x": 2.0}]}"#), (vec![2], vec![1.0, 2.0]));
        assert_eq!(tensor(r#"{"instances": [[1, 2], [3, 4]]}"#), (vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]));
        assert_eq!(tensor(r#"{"instances": [{"x": [[1]]}]}"#), (vec![1, 1, 1], vec![1.0]));
    }

    #[test]
    fn columns_may_be_plain_or_named_and_of_any_rank() {
        assert_eq!(tensor(r#"{"inputs": 4}"#), (vec![], vec![4.0]));
        assert_eq!(tensor(r#"{"inputs": [1, 2]}"#), (vec![2], vec![1.0, 2.0]));
        assert_eq!(tensor(r#"{"inputs": {"x": [[1], [2]]}}"#), (vec![2, 1], vec![1.0, 2.0]));
        assert_eq!(tensor(r#"{"inputs": []}"#), (vec![0], vec![]));
    }

    #[test]
    fn nan_and_the_infinities_stand_bare_both_ways() {
        let (_, values) = tensor(r#"{"instances": [NaN, Infinity, -Infinity, -Inf, 1.5]}"#);
        assert!(values[0].is_nan());
        assert_eq!(values[1..], [f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY, 1.5]);
        let text = write_predict(&float_tensor(&[5], values), Form::Row).unwrap();
        assert_eq!(text, "{\n    \"predictions\": [NaN, Infinity, -Infinity, -Infinity, 1.5\n    ]\n}");
        assert!(
            fault(r#"{"instances": ["NaN"]}"#)
                .contains("\"NaN\" Type: String is not of expected type: float")
        );
        assert!(fault(r#"{"instances": ["a \" NaN"]}"#).contains("Type: String"));
    }

    #[test]
    fn replies_are_laid_out_as_tf_serving_does() {
        let row = write_predict(&float_tensor(&[2, 2], vec![2.5, 3.0, 1e30, -0.5]), Form::Row).unwrap();
        assert_eq!(row, "{\n    \"predictions\": [[2.5, 3.0], [1e30, -0.5]\n    ]\n}");
        let columns = write_predict(&float_tensor(&[1, 2], vec![2.5, 3.0]), Form::Columnar).unwrap();
        let expected =
            "{\n    \"outputs\": [\n        [\n            2.5,\n            3.0\n        ]\n    ]\n}";
        assert_eq!(columns, expected);
        let scalar = write_predict(&float_tensor(&[], vec![2.5]), Form::Columnar).unwrap();
        assert_eq!(scalar, "{\n    \"outputs\": 2.5\n}");
        let empty = write_predict(&float_tensor(&[0], vec![]), Form::Columnar).unwrap();
        assert_eq!(empty, "{\n    \"outputs\": []\n}");
    }

    #[test]
    fn a_body_that_is_not_a_json_object_is_refused() {
        assert_eq!(fault(""), "JSON Parse error: The document is empty");
        assert_eq!(fault("{\n \"instances\": [1,]}"), "JSON Parse error: trailing comma at offset: 19");
        assert_eq!(fault("[1]"), "JSON Value: [1] Is not object");
        assert!(fault(&"[".repeat(100_000)).starts_with("JSON Parse error: recursion limit exceeded"));
    }

    #[test]
    fn a_body_must_hold_exactly_one_of_instances_and_inputs() {
        assert_eq!(fault("{}"), "Missing 'inputs' or 'instances' key");
        assert!(fault(r#"{"instances": [1], "inputs": [1]}"#).contains("expecting only one of"));
        assert!(fault(r#"{"instances": 1}"#).contains("to be an list/array"));
        assert!(fault(r#"{"instances": []}"#).contains("No values in 'instances' array"));
    }

    #[test]
    fn values_that_are_not_floats_are_refused_with_their_place() {
        assert_eq!(
            fault(r#"{"instances": [1.0, "two"]}"#),
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: \
             JSON Value: \"two\" Type: String is not of expected type: float"
        );
        assert!(
            fault(r#"{"inputs": [{"b64": "AA=="}]}"#).contains("Type: Object is not of expected type: float")
        );
        assert!(fault(r#"{"inputs": 16777216}"#).contains("without loss of precision"));
        assert!(fault(r#"{"inputs": 1e39}"#).contains("without loss of precision"));
    }

    #[test]
    fn lists_must_be_as_regular_as_tensors_are() {
        assert!(
            fault(r#"{"inputs": [[1, 2], [3]]}"#).contains("unexpected size: 1 at level: 1 expected size: 2")
        );
        assert!(fault(r#"{"inputs": [1, [2]]}"#).contains("unexpected level: 1 expected < 1"));
        assert!(fault(r#"{"inputs": [[1], 2]}"#).contains("found at incorrect level: 2"));
        assert!(fault(r#"{"instances": [[1, 2], [3]]}"#).contains("Expecting shape [2] but got: [1]"));
        assert!(fault(r#"{"instances": [{"x": 1}, 2]}"#).contains("Expecting object but got list at item 1"));
        assert!(
            fault(r#"{"instances": [1, {"x": 2}]}"#)
                .contains("Expecting value/list but got object at item 1")
        );
    }

    #[test]
    fn inputs_must_have_the_names_of_the_signature() {
        assert!(fault(r#"{"instances": [{"z": 1}]}"#).contains("does not have named input: z"));
        assert!(fault(r#"{"instances": [{}]}"#).contains("keys must be equal to: x"));
        assert_eq!(fault(r#"{"inputs": {"z": 1}}"#), "Missing named input: x in 'inputs' object.");
        assert!(
            fault(r#"{"signature_name": "nope", "inputs": 1}"#)
                .contains("\"nope\" not found in signature def")
        );
        assert!(fault(r#"{"signature_name": 1, "inputs": 1}"#).contains("must be a string value"));
    }

    proptest! {
        #[test]
        fn a_float_that_was_written_reads_back_to_itself(value in prop::num::f32::NORMAL | prop::num::f32::ZERO) {
            let mut text = String::new();
            write_decimal(&mut text, value);
            prop_assert!(text.contains('.') || text.contains('e'));
            prop_assert_eq!(text.parse::<f32>().unwrap().to_bits(), value.to_bits());
        }

        #[test]
        fn no_body_makes_the_reader_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_predict(&body, |_| true);
        }
    }
}
