"""What callers send: a prediction by REST, and the same by gRPC, of a length to the byte."""

from __future__ import annotations

import struct

MODEL = "bench"


# 224 x 224 pixels of three 32-bit floats: what an image classifier takes.
IMAGE_BYTES = 224 * 224 * 3 * 4


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
        return field(1, field(1, MODEL.encode())) + field(2, field(1, b"x") + field(2, tensor))

    # The lengths within are of varying size themselves, so we approach.
    content = length
    while len(message(content)) > length:
        content -= 1
    whole = message(content)
    assert len(whole) == length, f"no PredictRequest of this shape has {length} bytes"
    return b"\0" + struct.pack(">I", length) + whole
