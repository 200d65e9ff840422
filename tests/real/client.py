#!/usr/bin/env python3
"""Sends requests as a user of TensorFlow Serving does, and reports which version answered each.

    client.py --target HOST:PORT --protocol grpc|rest [--mode predict|status|alternate] --requests N --parallel P

gRPC calls go through the stubs of tensorflow-serving-api, REST calls through the standard library. Each of the P
workers has a connection of its own, kept for all its requests, and sends the next request when the last is answered.
`alternate` sends prediction, status, prediction, ... on each connection: the periodic caller that a strictly
even schedule of versions would bind.

The version is read from the prediction itself (10/2 + 2 is version 1, 10/2 + 3 is version 2; see make_models.py), or
from the status reply. Prints one JSON line:

    {"requests": N, "errors": K, "by_version": {"1": ..., "2": ...}, "by_kind": {"predict": {"1": ...}, ...},
     "by_error": {"UNAVAILABLE": K}, "first_error": null}

Errors do not stop it; the exit status is 0 whenever the line was printed. REST needs any Python 3.10, gRPC that of
`tests/parts tensorflow`.
"""

import argparse
import collections
import http.client
import importlib.util
import json
import struct
import sys
import threading
import types

# What make_models.py adds to half the input -> the version that adds it.
VERSION_OF_ADDEND = {2.0: "1", 3.0: "2"}


class CallError(Exception):
    """A request without a usable answer: a short kind to count by, and what was seen."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


def version_of(prediction: float, value: float) -> str:
    version = VERSION_OF_ADDEND.get(prediction - value / 2)
    if version is None:
        raise CallError("wrong prediction", f"no version predicts {prediction} for {value}")
    return version


class RestConnection:
    """One HTTP/1.1 keep-alive connection."""

    def __init__(self, options):
        host, _, port = options.target.rpartition(":")
        self._model = f"/v1/models/{options.model}"
        self._value = options.input
        self._headers = dict(options.header)
        self._connection = http.client.HTTPConnection(host, int(port), timeout=options.timeout)

    def predict(self) -> str:
        body = json.dumps({"instances": [self._value]})
        reply = self._call("POST", f"{self._model}:predict", body)
        return version_of(reply["predictions"][0], self._value)

    def status(self) -> str:
        return reply_version(self._call("GET", self._model, None)["model_version_status"])

    def _call(self, method: str, path: str, body: str | None) -> dict:
        headers = self._headers | ({"Content-Type": "application/json"} if body else {})
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            # http.client dials anew at the next request, after a close only.
            self._connection.close()
            raise CallError(type(error).__name__, f"{method} {path}: {error!r}") from error
        if response.status != 200:
            raise CallError(str(response.status), f"{method} {path}: {response.status} {text[:300]!r}")
        try:
            return json.loads(text)
        except ValueError as error:
            raise CallError("bad JSON", f"{method} {path}: {text[:300]!r}") from error


def reply_version(statuses: list[dict]) -> str:
    if len(statuses) != 1:
        raise CallError("bad status", f"expected one version, got {statuses}")
    return str(statuses[0]["version"])


def import_stubs() -> types.SimpleNamespace:
    """The generated stubs, without the seconds that `import tensorflow` takes.

    They import modules such as tensorflow.core.framework.tensor_pb2, and Python would first run all of TensorFlow's
    own __init__.py. An empty module with TensorFlow's folder as its path in its place leads to the same files.
    """
    spec = importlib.util.find_spec("tensorflow")
    if spec is None:
        sys.exit("tensorflow is not installed here: use the Python of  tests/parts tensorflow")
    hollow = types.ModuleType("tensorflow")
    hollow.__path__ = list(spec.submodule_search_locations)
    sys.modules["tensorflow"] = hollow

    import grpc
    from tensorflow.core.framework import tensor_pb2, types_pb2
    from tensorflow_serving.apis import (
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )

    return types.SimpleNamespace(**locals())


class GrpcConnection:
    """One channel with one connection: channels to one target would share theirs, were it not for the local pool."""

    def __init__(self, options, stubs: types.SimpleNamespace):
        self._grpc = stubs.grpc
        self._timeout = options.timeout
        self._value = options.input
        self._metadata = tuple((name.lower(), value) for name, value in options.header)
        # Without retries: a failure that gRPC hides is a failure that the test should see.
        arguments = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        self._channel = stubs.grpc.insecure_channel(options.target, options=arguments)
        self._prediction = stubs.prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._model_service = stubs.model_service_pb2_grpc.ModelServiceStub(self._channel)

        self._predict_request = stubs.predict_pb2.PredictRequest()
        self._predict_request.model_spec.name = options.model
        self._predict_request.model_spec.signature_name = "serving_default"
        tensor = stubs.tensor_pb2.TensorProto(dtype=stubs.types_pb2.DT_FLOAT, float_val=[options.input])
        tensor.tensor_shape.dim.add(size=1)
        self._predict_request.inputs["x"].CopyFrom(tensor)
        self._status_request = stubs.get_model_status_pb2.GetModelStatusRequest()
        self._status_request.model_spec.name = options.model

    def predict(self) -> str:
        reply = self._call(self._prediction.Predict, self._predict_request)
        # A server may write one value either way; the proto allows both.
        tensor = reply.outputs["y"]
        predicted = tensor.float_val[0] if tensor.float_val else first_float(tensor.tensor_content)
        version = version_of(predicted, self._value)
        if str(reply.model_spec.version.value) != version:
            raise CallError(
                "version mismatch",
                f"the reply names version {reply.model_spec.version.value}, its value is version {version}'s",
            )
        return version

    def status(self) -> str:
        reply = self._call(self._model_service.GetModelStatus, self._status_request)
        return reply_version([{"version": one.version} for one in reply.model_version_status])

    def _call(self, method, request):
        try:
            return method(request, timeout=self._timeout, metadata=self._metadata)
        except self._grpc.RpcError as error:
            raise CallError(error.code().name, f"{error.code().name}: {error.details()}") from error


def first_float(content: bytes) -> float:
    return struct.unpack_from("<f", content)[0]


class Tally:
    """What all workers saw. They report under one lock; a request costs far more."""

    def __init__(self):
        self._lock = threading.Lock()
        self._by_kind = collections.defaultdict(collections.Counter)
        self._by_error = collections.Counter()
        self._first_error = None

    def served(self, kind: str, version: str) -> None:
        with self._lock:
            self._by_kind[kind][version] += 1

    def failed(self, kind: str, message: str) -> None:
        with self._lock:
            self._by_error[kind] += 1
            self._first_error = self._first_error or message

    def as_json(self) -> str:
        by_version = collections.Counter()
        for versions in self._by_kind.values():
            by_version += versions
        errors = self._by_error.total()
        return json.dumps(
            {
                "requests": by_version.total() + errors,
                "errors": errors,
                "by_version": by_version,
                "by_kind": self._by_kind,
                "by_error": self._by_error,
                "first_error": self._first_error,
            }
        )


def work(connection, kinds: tuple[str, ...], requests: int, tally: Tally) -> None:
    for number in range(requests):
        kind = kinds[number % len(kinds)]
        try:
            tally.served(kind, getattr(connection, kind)())
        except CallError as error:
            tally.failed(error.kind, str(error))
        except Exception as error:  # a reply of a shape we did not foresee is an error to count, not a dead worker
            tally.failed(type(error).__name__, repr(error))


def parse_options() -> argparse.Namespace:
    def header(text: str) -> tuple[str, str]:
        name, colon, value = text.partition(":")
        if not colon:
            raise argparse.ArgumentTypeError("want NAME:VALUE")
        return name.strip(), value.strip()

    parser = argparse.ArgumentParser(description="Calls half_plus_two and counts which version answered.")
    parser.add_argument("--target", required=True, metavar="HOST:PORT")
    parser.add_argument("--protocol", required=True, choices=["grpc", "rest"])
    parser.add_argument("--mode", choices=["predict", "status", "alternate"], default="predict")
    parser.add_argument("--requests", type=int, required=True, help="all connections together")
    parser.add_argument("--parallel", type=int, default=1, help="connections, each with one request at a time")
    parser.add_argument("--model", default="half_plus_two")
    parser.add_argument("--input", type=float, default=10.0)
    parser.add_argument("--header", type=header, action="append", default=[], metavar="NAME:VALUE",
                        help="an HTTP header or gRPC metadata to send with each request")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS", help="of each request")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    kinds = ("predict", "status") if options.mode == "alternate" else (options.mode,)
    if options.protocol == "grpc":
        stubs = import_stubs()
        connections = [GrpcConnection(options, stubs) for _ in range(options.parallel)]
    else:
        connections = [RestConnection(options) for _ in range(options.parallel)]
    share, rest = divmod(options.requests, options.parallel)
    tally = Tally()
    workers = [
        threading.Thread(target=work, args=(connection, kinds, share + (number < rest), tally))
        for number, connection in enumerate(connections)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(tally.as_json(), flush=True)


if __name__ == "__main__":
    main()
