"""What is measured: a row of `SCENARIOS` is all that a new scenario takes, as long as h2load can drive it."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Literal

Protocol = Literal["rest", "grpc"]

# The service, and its one rule, that every proxy is configured with.
SERVICE = "bench"
WEIGHTS = {"v1": 95, "v2": 5}


@dataclass(frozen=True)
class Target:
    """What Weir promises for a scenario."""

    cpu_ratio: float
    """Weir's CPU per request over HAProxy's, at most."""
    pss_mib: float | None = None
    """Weir's peak PSS, at most."""


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    protocol: Protocol
    connections: int
    streams: int
    """Requests under way at once on each connection."""
    body: bytes
    smoke_requests: int
    target: Target

    @property
    def path(self) -> str:
        """The path that TensorFlow Serving has for a prediction."""
        if self.protocol == "grpc":
            return "/tensorflow.serving.PredictionService/Predict"
        return f"/v1/models/{SERVICE}:predict"

    @property
    def headers(self) -> list[str]:
        if self.protocol == "grpc":
            return ["content-type: application/grpc", "te: trailers"]
        return ["content-type: application/json"]


def rest_predict(length: int) -> bytes:
    """A JSON predict request of exactly `length` bytes."""
    head = b'{"signature_name": "serving_default", "instances": ['
    number = b"0.123456, "
    room = length - len(head) - len(b"1.0]}")
    return head + (number * (room // len(number))).ljust(room) + b"1.0]}"


def grpc_predict(length: int) -> bytes:
    """A PredictRequest of exactly `length` bytes (one float tensor, `x`) behind gRPC's five bytes of framing."""

    def field(number: int, value: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(value)) + value

    def varint(value: int) -> bytes:
        out = bytearray()
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes(out + bytes([value]))

    def message(content: int) -> bytes:
        tensor = b"\x08\x01" + field(4, b"\x2a" * content)  # dtype: DT_FLOAT, tensor_content
        return field(1, field(1, SERVICE.encode())) + field(2, field(1, b"x") + field(2, tensor))

    # The lengths within are of varying size themselves, so we approach.
    content = length
    while len(message(content)) > length:
        content -= 1
    whole = message(content)
    assert len(whole) == length, f"no PredictRequest of this shape has {length} bytes"
    return b"\0" + struct.pack(">I", length) + whole


# 224 x 224 pixels of three 32-bit floats: what an image classifier takes.
IMAGE_BYTES = 224 * 224 * 3 * 4

SCENARIOS = (
    Scenario(
        name="rest-predict",
        title="REST predict, 600 bytes, 64 connections",
        protocol="rest",
        connections=64,
        streams=1,
        body=rest_predict(600),
        smoke_requests=4_000,
        target=Target(cpu_ratio=1.25),
    ),
    Scenario(
        name="grpc-predict",
        title="gRPC predict, 500 bytes, 16 connections x 16 streams",
        protocol="grpc",
        connections=16,
        streams=16,
        body=grpc_predict(500),
        smoke_requests=10_000,
        target=Target(cpu_ratio=1.6),
    ),
    Scenario(
        name="rest-image",
        title="REST predict, 602,112 bytes, 16 connections",
        protocol="rest",
        connections=16,
        streams=1,
        body=rest_predict(IMAGE_BYTES),
        smoke_requests=320,
        target=Target(cpu_ratio=1.15, pss_mib=48),
    ),
)

assert all(json.loads(scenario.body) for scenario in SCENARIOS if scenario.protocol == "rest")
