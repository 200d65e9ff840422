#!/usr/bin/env python3
"""Serves one version of a SavedModel by TensorFlow Serving's gRPC and REST interfaces, on loopback.

This is the real TensorFlow runtime, and the messages are those of tensorflow-serving-api, but the servicer is ours:
it is **not** `tensorflow_model_server`, which no package registry carries. A test that passes here has shown real
models, real tensors and real stubs; it has not shown Google's server.

    model_server.py --model-dir DIR/1 --name half_plus_two --version 1 [--grpc-port 0] [--rest-port 0]

When ready it prints one JSON line, {"grpc_port": N, "rest_port": N}. For each line `counts` on stdin it prints what it
was asked so far: {"grpc": N, "rest": N, "by_kind": {"grpc": {...}, "rest": {...}}}, faulty requests included. It ends
when stdin closes, so a test that crashed leaves no server behind.

gRPC: PredictionService.Predict and GetModelMetadata, ModelService.GetModelStatus. REST: predict, status and metadata
under /v1/models/. Names, errors and their texts follow TensorFlow Serving's sources. There are no version labels.
Run with the Python of `tests/parts tensorflow`.
"""

import argparse
import collections
import http.server
import json
import os
import pathlib
import re
import sys
import threading
from concurrent import futures

# Before the import: only errors on stderr, no search for a GPU, and sums in the order that the test computes them.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import grpc  # noqa: E402
import tensorflow as tf  # noqa: E402
from google.protobuf import json_format  # noqa: E402
from tensorflow.core.protobuf import saved_model_pb2  # noqa: E402
from tensorflow_serving.apis import (  # noqa: E402
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

DEFAULT_SIGNATURE = "serving_default"


class ServingError(Exception):
    """What either interface answers a faulty request with: a gRPC status and the same text."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


def not_found(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.NOT_FOUND, message)


def invalid(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


class Counts:
    """How often each interface was asked for what. Both servers answer from several threads."""

    def __init__(self):
        self._lock = threading.Lock()
        self._by_kind = {"grpc": collections.Counter(), "rest": collections.Counter()}

    def add(self, protocol: str, kind: str) -> None:
        with self._lock:
            self._by_kind[protocol][kind] += 1

    def as_json(self) -> str:
        with self._lock:
            totals = {protocol: sum(kinds.values()) for protocol, kinds in self._by_kind.items()}
            return json.dumps({**totals, "by_kind": self._by_kind})


class Model:
    """One loaded version. Knows tensors and names; nothing of gRPC services or HTTP."""

    def __init__(self, name: str, version: int, directory: pathlib.Path):
        self.name = name
        self.version = version
        # Kept as a whole: the signatures hold only weak references to its variables.
        self._loaded = tf.saved_model.load(str(directory))
        saved = saved_model_pb2.SavedModel.FromString((directory / "saved_model.pb").read_bytes())
        self.signature_defs = saved.meta_graphs[0].signature_def

    def check_servable(self, name: str, version: int | None) -> None:
        if name != self.name or version not in (None, self.version):
            wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise not_found(f"Servable not found for request: {wanted}")

    def check_status(self, name: str, version: int | None) -> None:
        if name != self.name:
            raise not_found(f"Could not find any versions of model {name}")
        if version not in (None, self.version):
            raise not_found(f"Could not find version {version} of model {name}")

    def inputs_of(self, signature_name: str):
        """Name -> TensorInfo of a signature's inputs."""
        if signature_name not in self._loaded.signatures:
            raise ServingError(
                grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{signature_name}" not found.'
            )
        return self.signature_defs[signature_name].inputs

    def run(self, signature_name: str, tensors: dict) -> dict:
        inputs = self.inputs_of(signature_name)
        if set(tensors) != set(inputs):
            sent, known = ",".join(sorted(tensors)), ",".join(sorted(inputs))
            raise invalid(
                f"input size does not match signature: {len(tensors)}!={len(inputs)} len({{{sent}}}) != len({{{known}}})."
            )
        for name, tensor in tensors.items():
            if tensor.dtype.as_datatype_enum != inputs[name].dtype:
                expected = tf.dtypes.as_dtype(inputs[name].dtype).name
                raise invalid(f"input {name} is {tensor.dtype.name}, the signature wants {expected}")
        try:
            return self._loaded.signatures[signature_name](**tensors)
        except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
            raise invalid(str(error)) from error


# ---- gRPC ------------------------------------------------------------------------------------------------------------


def version_asked(spec) -> int | None:
    if spec.HasField("version"):
        return spec.version.value
    if spec.HasField("version_label"):
        raise invalid(f"Unrecognized servable version label: {spec.version_label}")
    return None


class Service(
    prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer
):
    """Both gRPC services. What is not overridden answers UNIMPLEMENTED, as the generated bases do."""

    def __init__(self, model: Model, counts: Counts):
        self._model = model
        self._counts = counts

    def Predict(self, request, context):
        return self._answer(context, "Predict", self._predict, request)

    def GetModelMetadata(self, request, context):
        return self._answer(context, "GetModelMetadata", self._metadata, request)

    def GetModelStatus(self, request, context):
        return self._answer(context, "GetModelStatus", self._status, request)

    def _answer(self, context, kind, handle, request):
        self._counts.add("grpc", kind)
        try:
            return handle(request)
        except ServingError as error:
            context.abort(error.code, error.message)

    def _predict(self, request):
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        spec = request.model_spec
        self._model.check_servable(spec.name, version_asked(spec))
        signature_name = spec.signature_name or DEFAULT_SIGNATURE
        try:
            tensors = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
        except (TypeError, ValueError) as error:
            raise invalid(f"tensor parsing error: {error}") from error
        outputs = self._model.run(signature_name, tensors)
        wanted = list(request.output_filter) or list(outputs)
        for name in wanted:
            if name not in outputs:
                raise invalid(f"output tensor alias not found in signature: {name}")
        response = predict_pb2.PredictResponse()
        self._fill_spec(response.model_spec, signature_name)
        for name in wanted:
            response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name]))
        return response

    def _metadata(self, request):
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid(f"Metadata field {field} is not supported")
        self._model.check_servable(request.model_spec.name, version_asked(request.model_spec))
        return metadata_response(self._model)

    def _status(self, request):
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        self._model.check_status(request.model_spec.name, version_asked(request.model_spec))
        return status_response(self._model)

    def _fill_spec(self, spec, signature_name: str) -> None:
        spec.name = self._model.name
        spec.version.value = self._model.version
        spec.signature_name = signature_name


def metadata_response(model: Model):
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = model.name
    response.model_spec.version.value = model.version
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in model.signature_defs.items():
        signatures.signature_def[name].CopyFrom(definition)
    response.metadata["signature_def"].Pack(signatures)
    return response


def status_response(model: Model):
    response = get_model_status_pb2.GetModelStatusResponse()
    one = response.model_version_status.add(version=model.version)
    one.state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    one.status.SetInParent()
    return response


def start_grpc(model: Model, counts: Counts, port: int) -> tuple[grpc.Server, int]:
    # A second server on a taken port must fail, not share it; and no message is too big for a model.
    options = [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
    ]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=options)
    service = Service(model, counts)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(service, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, bound


# ---- REST ------------------------------------------------------------------------------------------------------------

_VERSION = r"/v1/models/(?P<name>[^/:]+)(?:/(?:versions/(?P<version>\d+)|labels/(?P<label>[^/:]+)))?"
# Matched whole and in any case, as TensorFlow Serving does.
ROUTES = [
    ("POST", "predict", re.compile(_VERSION + r":predict", re.IGNORECASE)),
    ("GET", "metadata", re.compile(_VERSION + r"/metadata", re.IGNORECASE)),
    ("GET", "status", re.compile(_VERSION, re.IGNORECASE)),
]

HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.NOT_FOUND: 404,
}


class RestHandler(http.server.BaseHTTPRequestHandler):
    """One keep-alive connection. `model` and `counts` are set on the subclass that `start_rest` makes."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # One write for head and body: without a buffer each line of the head is a packet.
    wbufsize = -1
    model: Model
    counts: Counts

    def do_GET(self):
        # The body is read first, whatever it is for: what stays unread would be taken for the next request.
        body = self._read_body()
        path = self.path.split("?", 1)[0]
        try:
            kind, found = route(self.command, path)
            self.counts.add("rest", kind)
            self._reply(200, self._handle(kind, found, body))
        except ServingError as error:
            self._reply(HTTP_STATUS[error.code], json.dumps({"error": error.message}))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _handle(self, kind: str, found: re.Match, body: bytes) -> str:
        name, version = found["name"], found["version"] and int(found["version"])
        if found["label"]:
            raise invalid(f"Unrecognized servable version label: {found['label']}")
        if kind == "predict":
            self.model.check_servable(name, version)
            return predict_json(self.model, body)
        if kind == "metadata":
            self.model.check_servable(name, version)
            return metadata_json(self.model)
        self.model.check_status(name, version)
        return json.dumps(as_dict(status_response(self.model)), indent=1)

    def _read_body(self) -> bytes:
        # A proxy that streams a body of unknown length sends it chunked; http.server leaves that to us.
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return bytes(body)

    def _reply(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        """Nothing: stderr is for faults."""


def route(method: str, path: str) -> tuple[str, re.Match]:
    for wanted, kind, pattern in ROUTES:
        if method == wanted and (found := pattern.fullmatch(path)):
            return kind, found
    if path.startswith("/v1/"):
        raise invalid(f"Malformed request: {method} {path}")
    raise not_found("Not Found")


def predict_json(model: Model, body: bytes) -> str:
    """Row format (instances -> predictions) or columnar (inputs -> outputs), as the REST documentation has them."""
    try:
        request = json.loads(body)
    except ValueError as error:
        raise invalid(f"JSON Parse error: {error}") from error
    if not isinstance(request, dict):
        raise invalid("Request body should be a JSON object")
    rows, columns = "instances" in request, "inputs" in request
    if rows and columns:
        raise invalid("Not expecting 'inputs' and 'instances' keys both to exist")
    if not rows and not columns:
        raise invalid("Missing 'inputs' or 'instances' key")
    signature_name = request.get("signature_name", DEFAULT_SIGNATURE)
    if not isinstance(signature_name, str):
        raise invalid("'signature_name' key must be a string value")
    inputs = model.inputs_of(signature_name)
    values = columns_of(request["instances"], inputs) if rows else named_columns(request["inputs"], inputs)
    tensors = {name: to_tensor(name, value, inputs) for name, value in values.items()}
    outputs = {name: value.numpy().tolist() for name, value in model.run(signature_name, tensors).items()}
    # A sole output stands without its name, in either format.
    sole = next(iter(outputs.values())) if len(outputs) == 1 else None
    if not rows:
        return json.dumps({"outputs": outputs if sole is None else sole})
    predictions = [dict(zip(outputs, row)) for row in zip(*outputs.values())] if sole is None else sole
    return json.dumps({"predictions": predictions})


def columns_of(instances, inputs) -> dict:
    """Rows to columns: each row is a value of the sole input, or an object of all of them."""
    if not isinstance(instances, list) or not instances:
        raise invalid("'instances' must be a non-empty list")
    if not all(isinstance(row, dict) for row in instances):
        return named_columns(instances, inputs)
    names = set(instances[0])
    if any(set(row) != names for row in instances):
        raise invalid("All instances must have the same inputs")
    return {name: [row[name] for row in instances] for name in names}


def named_columns(value, inputs) -> dict:
    if isinstance(value, dict):
        return value
    if len(inputs) != 1:
        raise invalid(f"The signature has {len(inputs)} inputs: name them")
    return {next(iter(inputs)): value}


def to_tensor(name: str, value, inputs):
    if name not in inputs:
        raise invalid(f"Unexpected input: {name}")
    try:
        return tf.constant(value, dtype=tf.dtypes.as_dtype(inputs[name].dtype))
    except (TypeError, ValueError) as error:
        raise invalid(f"Failed to process input {name}: {error}") from error


def metadata_json(model: Model) -> str:
    # Through Any, MessageToJson would write the type's URL; TensorFlow Serving's JSON has the map itself.
    response = metadata_response(model)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    model_spec, signature_def = as_dict(response.model_spec), as_dict(signatures)
    return json.dumps({"model_spec": model_spec, "metadata": {"signature_def": signature_def}}, indent=1)


def as_dict(message) -> dict:
    """With the proto's own names and every default, as TensorFlow Serving prints them."""
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


class RestServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # A test opens its connections all at once; the default of 5 makes the sixth wait a second for its SYN.
    request_queue_size = 512


def start_rest(model: Model, counts: Counts, port: int) -> int:
    handler = type("Handler", (RestHandler,), {"model": model, "counts": counts})
    server = RestServer(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


# ---- the process -----------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description="Serves one version of a SavedModel on loopback.")
    parser.add_argument("--model-dir", type=pathlib.Path, required=True, help="the folder of this version")
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", type=int, required=True)
    parser.add_argument("--grpc-port", type=int, default=0)
    parser.add_argument("--rest-port", type=int, default=0)
    options = parser.parse_args()

    # Several servers share a small test machine; toy models gain nothing from a pool of threads.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = Model(options.name, options.version, options.model_dir)
    counts = Counts()
    # Named, not discarded: a gRPC server without a reference stops.
    _server, grpc_port = start_grpc(model, counts, options.grpc_port)
    rest_port = start_rest(model, counts, options.rest_port)
    print(json.dumps({"grpc_port": grpc_port, "rest_port": rest_port}), flush=True)

    for line in sys.stdin:
        if line.strip() == "counts":
            print(counts.as_json(), flush=True)
    # Not sys.exit: requests in flight and the runtime's threads must not hold back a test that is over.
    os._exit(0)


if __name__ == "__main__":
    main()
