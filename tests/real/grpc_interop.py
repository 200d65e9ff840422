#!/usr/bin/env python3
"""The interop cases of gRPC, by grpcio's real client and server, through a proxy that somebody else starts.

Starts a server and prints {"port": N}. Then reads one JSON line with addresses HOST:PORT:

    {"target": the proxy before the server, "nobody": a listener whose service has no endpoint, "refused": one whose
     endpoint refuses connections, "unrouted": one without a route, "hasty": the server with a timeout of 300 ms}

and prints one JSON line: each case -> null, or what went wrong. Each case is named on stderr as it begins. Client and server share the process, so a case can
ask what its server saw. Messages are bytes as they are; where a request says something, it is JSON. Needs the Python
of `tests/parts tensorflow`.

The cases up to `unimplemented_service` are those of gRPC's doc/interop-test-descriptions.md, with its sizes.
"""

import concurrent.futures
import json
import queue
import sys
import threading
import time

import grpc

SERVICE = "grpc.testing.TestService"
SOON = 20.0
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
REQUEST_SIZES = [27182, 8, 1828, 45904]
RESPONSE_SIZES = [31415, 9, 2653, 58979]
INITIAL, TRAILING = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"
SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608, 100 % \\ \u00e9\t\n"


class Seen:
    """What the server saw: how many calls run, and which were cancelled."""

    def __init__(self):
        self._lock = threading.Condition()
        self.running = 0
        self.cancelled = []
        self.begun = []

    def begin(self, name, context):
        with self._lock:
            self.running += 1
            self.begun.append(name)
            self._lock.notify_all()
        context.add_callback(lambda: self._end(name, context))

    def _end(self, name, context):
        with self._lock:
            self.running -= 1
            # A call that the client left has no code of the server's own.
            if context.code() is None and name.startswith("Hold"):
                self.cancelled.append(name)
            self._lock.notify_all()

    def wait(self, what, check):
        with self._lock:
            if not self._lock.wait_for(lambda: check(self), SOON):
                raise AssertionError(f"{what}: running {self.running}, cancelled {self.cancelled}")


SEEN = Seen()


def payload(size: int, seed: int = 0) -> bytes:
    block = bytes((i + seed) % 251 for i in range(4096))
    return (block * (size // 4096 + 1))[:size]


def echo_metadata(context):
    sent = dict(context.invocation_metadata())
    if INITIAL in sent:
        context.send_initial_metadata([(INITIAL, sent[INITIAL])])
    if TRAILING in sent:
        context.set_trailing_metadata([(TRAILING, sent[TRAILING])])


def sized(request: bytes) -> bytes:
    """A request that begins with a line of JSON asks for a reply of `size` bytes."""
    line = request.split(b"\n", 1)[0]
    return payload(json.loads(line)["size"], len(request))


def ask(size: int, length: int) -> bytes:
    line = json.dumps({"size": size}).encode() + b"\n"
    return line + payload(max(0, length - len(line)))


def empty(request, context):
    assert request == b"", "the empty message is empty"
    return b""


def unary(request, context):
    echo_metadata(context)
    return sized(request)


def fail(request, context):
    wanted = json.loads(request)
    if wanted.get("head_first"):
        context.send_initial_metadata([("x-first", "head")])
    context.set_trailing_metadata([("x-reason-bin", bytes(range(256)))])
    context.abort(grpc.StatusCode[wanted["code"]], wanted["message"])


def remaining(request, context):
    return json.dumps(context.time_remaining()).encode()


def stream_in(requests, context):
    return json.dumps(sum(len(request) for request in requests)).encode()


def stream_out(request, context):
    for at, size in enumerate(json.loads(request)):
        yield payload(size, at)


def duplex(requests, context):
    echo_metadata(context)
    for request in requests:
        yield sized(request)


def fail_duplex(requests, context):
    for request in requests:
        fail(request, context)
        yield b""


def hold(requests, context):
    """Answers once for each message, and never ends by itself."""
    for request in requests:
        if request == b"answer":
            yield b"first"
    while context.is_active():
        time.sleep(0.005)


def hold_in(requests, context):
    for _ in requests:
        pass
    while context.is_active():
        time.sleep(0.005)
    return b""


class Handlers(grpc.GenericRpcHandler):
    METHODS = {
        "EmptyCall": (grpc.unary_unary_rpc_method_handler, empty),
        "UnaryCall": (grpc.unary_unary_rpc_method_handler, unary),
        "Fail": (grpc.unary_unary_rpc_method_handler, fail),
        "Remaining": (grpc.unary_unary_rpc_method_handler, remaining),
        "StreamingInputCall": (grpc.stream_unary_rpc_method_handler, stream_in),
        "StreamingOutputCall": (grpc.unary_stream_rpc_method_handler, stream_out),
        "FullDuplexCall": (grpc.stream_stream_rpc_method_handler, duplex),
        "FailDuplex": (grpc.stream_stream_rpc_method_handler, fail_duplex),
        "Hold": (grpc.stream_stream_rpc_method_handler, hold),
        "HoldInput": (grpc.stream_unary_rpc_method_handler, hold_in),
    }

    def service(self, details):
        service, _, name = details.method[1:].partition("/")
        if service != SERVICE or name not in self.METHODS:
            return None
        kind, behaviour = self.METHODS[name]

        def watched(request, context):
            SEEN.begin(name, context)
            return behaviour(request, context)

        return kind(watched)


class Client:
    """A channel of its own, with a method for each kind of call."""

    def __init__(self, target, **options):
        arguments = [("grpc.use_local_subchannel_pool", 1), *options.pop("options", UNLIMITED)]
        self.target = target
        self.channel = grpc.insecure_channel(target, options=arguments, **options)

    def _name(self, method):
        return method if method.startswith("/") else f"/{SERVICE}/{method}"

    def unary(self, method, request, **options):
        return self.channel.unary_unary(self._name(method))(request, timeout=SOON, **options)

    def unary_call(self, method, request, timeout=SOON, **options):
        return self.channel.unary_unary(self._name(method)).with_call(request, timeout=timeout, **options)

    def stream_in(self, method, requests, **options):
        return self.channel.stream_unary(self._name(method)).future(requests, timeout=SOON, **options)

    def stream_out(self, method, request, **options):
        return self.channel.unary_stream(self._name(method))(request, timeout=SOON, **options)

    def duplex(self, method, requests, timeout=SOON, **options):
        return self.channel.stream_stream(self._name(method))(requests, timeout=timeout, **options)

    def failure(self, method, request, **options):
        """The error of a call that must fail."""
        try:
            self.unary_call(method, request, **options)
        except grpc.RpcError as error:
            return error
        raise AssertionError(f"{method} did not fail")


class Pipe:
    """Requests of a stream, given one by one."""

    END = object()

    def __init__(self):
        self._queue = queue.Queue()

    def send(self, message):
        self._queue.put(message)

    def end(self):
        self._queue.put(self.END)

    def __iter__(self):
        return self

    def __next__(self):
        message = self._queue.get()
        if message is self.END:
            raise StopIteration
        return message


def equal(what, seen, expected):
    if seen != expected:
        raise AssertionError(f"{what}: {str(seen)[:200]!r}, not {str(expected)[:200]!r}")


def status(what, error, code, message=None):
    equal(f"{what}, code", error.code(), code)
    if message is not None:
        equal(f"{what}, message", error.details(), message)


def empty_unary(client):
    equal("reply", client.unary("EmptyCall", b""), b"")


def large_unary(client):
    request = ask(314159, 271828)
    equal("reply", client.unary("UnaryCall", request), payload(314159, len(request)))


def client_streaming(client):
    requests = (payload(size) for size in REQUEST_SIZES)
    equal("sum", client.stream_in("StreamingInputCall", requests).result(), b"74922")


def server_streaming(client):
    replies = list(client.stream_out("StreamingOutputCall", json.dumps(RESPONSE_SIZES).encode()))
    equal("replies", replies, [payload(size, at) for at, size in enumerate(RESPONSE_SIZES)])


def ping_pong(client):
    pipe = Pipe()
    replies = client.duplex("FullDuplexCall", pipe)
    for length, size in zip(REQUEST_SIZES, RESPONSE_SIZES, strict=True):
        request = ask(size, length)
        pipe.send(request)
        equal("reply", next(replies), payload(size, len(request)))
    pipe.end()
    equal("rest", list(replies), [])


def empty_stream(client):
    equal("replies", list(client.duplex("FullDuplexCall", iter(()))), [])


def hears(name, before):
    SEEN.wait("the server hears", lambda seen: seen.cancelled.count(name) > before)


def cancel_after_begin(client):
    before, begun = SEEN.cancelled.count("HoldInput"), SEEN.begun.count("HoldInput")
    call = client.stream_in("HoldInput", Pipe())
    SEEN.wait("the call arrives", lambda seen: seen.begun.count("HoldInput") > begun)
    call.cancel()
    equal("code", call.code(), grpc.StatusCode.CANCELLED)
    hears("HoldInput", before)


def cancel_after_first_response(client):
    before, pipe = SEEN.cancelled.count("Hold"), Pipe()
    call = client.duplex("Hold", pipe)
    pipe.send(b"answer")
    equal("first", next(call), b"first")
    call.cancel()
    try:
        next(call)
        raise AssertionError("a reply after the cancellation")
    except grpc.RpcError as error:
        status("after", error, grpc.StatusCode.CANCELLED)
    hears("Hold", before)


def timeout_on_sleeping_server(client):
    before, pipe = SEEN.cancelled.count("Hold"), Pipe()
    call = client.duplex("Hold", pipe, timeout=0.3)
    pipe.send(payload(27182))
    try:
        next(call)
        raise AssertionError("a reply of a server that sleeps")
    except grpc.RpcError as error:
        status("after", error, grpc.StatusCode.DEADLINE_EXCEEDED)
    hears("Hold", before)


def deadline_arrives(client):
    reply, _ = client.unary_call("Remaining", b"", timeout=7.0)
    left = json.loads(reply)
    if not 0 < left <= 7.5:  # the wire's unit may be coarser than the clock's
        raise AssertionError(f"{left} s left of 7")
    # Without a deadline none is made up.
    reply, _ = client.unary_call("Remaining", b"", timeout=None)
    if json.loads(reply) is not None and json.loads(reply) < 1e6:
        raise AssertionError(f"{reply!r} s left of for ever")


def custom_metadata(client):
    binary = bytes(range(256))
    sent = [(INITIAL, "test_initial_metadata_value"), (TRAILING, binary)]
    _, call = client.unary_call("UnaryCall", ask(10, 10), metadata=sent)
    equal("initial", dict(call.initial_metadata())[INITIAL], sent[0][1])
    equal("trailing", dict(call.trailing_metadata())[TRAILING], binary)
    call = client.duplex("FullDuplexCall", iter([ask(10, 10)]), metadata=[sent[0], (TRAILING, b"\xab\xab\xab")])
    equal("initial of a stream", dict(call.initial_metadata())[INITIAL], sent[0][1])
    equal("replies", len(list(call)), 1)
    equal("trailing of a stream", dict(call.trailing_metadata())[TRAILING], b"\xab\xab\xab")


def status_code_and_message(client):
    request = json.dumps({"code": "UNKNOWN", "message": "test status message"}).encode()
    status("unary", client.failure("Fail", request), grpc.StatusCode.UNKNOWN, "test status message")
    try:
        list(client.duplex("FailDuplex", iter([request])))
        raise AssertionError("the stream did not fail")
    except grpc.RpcError as error:
        status("stream", error, grpc.StatusCode.UNKNOWN, "test status message")


def special_status_message(client):
    request = json.dumps({"code": "UNKNOWN", "message": SPECIAL}).encode()
    status("unary", client.failure("Fail", request), grpc.StatusCode.UNKNOWN, SPECIAL)


def unimplemented_method(client):
    status("call", client.failure("UnimplementedCall", b""), grpc.StatusCode.UNIMPLEMENTED)


def unimplemented_service(client):
    method = "/grpc.testing.UnimplementedService/UnimplementedCall"
    status("call", client.failure(method, b""), grpc.StatusCode.UNIMPLEMENTED)


def every_status(client):
    for code in grpc.StatusCode:
        if code is grpc.StatusCode.OK:
            continue
        for head_first in [False, True]:  # a head and trailers, and trailers alone
            request = {"code": code.name, "message": f"it is {code.name}", "head_first": head_first}
            error = client.failure("Fail", json.dumps(request).encode())
            what = f"{code.name}, head first: {head_first}"
            status(what, error, code, request["message"])
            equal(f"{what}, trailing", dict(error.trailing_metadata())["x-reason-bin"], bytes(range(256)))
            equal(f"{what}, initial", dict(error.initial_metadata()).get("x-first") is not None, head_first)


def sixteen_mebibytes(client):
    size = 16 << 20
    request = ask(size, size)
    equal("reply", client.unary("UnaryCall", request), payload(size, len(request)))


def too_large_for_the_client(client):
    small = Client(client.target, options=[("grpc.max_receive_message_length", 1 << 20)])
    status("large", small.failure("UnaryCall", ask(5 << 20, 10)), grpc.StatusCode.RESOURCE_EXHAUSTED)
    equal("the next", len(small.unary("UnaryCall", ask(10, 10))), 10)


def compressed(client):
    packed = Client(client.target, compression=grpc.Compression.Gzip)
    request = ask(314159, 271828)
    equal("reply", packed.unary("UnaryCall", request), payload(314159, len(request)))


def many_at_once(client):
    request = ask(100_000, 50_000)
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        replies = list(pool.map(lambda _: client.unary("UnaryCall", request), range(300)))
    equal("replies", {len(reply) for reply in replies}, {100_000})


def many_messages(client):
    sizes = [1] * 5_000
    replies = list(client.stream_out("StreamingOutputCall", json.dumps(sizes).encode()))
    equal("replies", len(replies), 5_000)
    equal("sum", client.stream_in("StreamingInputCall", iter([b"x"] * 5_000)).result(), b"5000")


UNAVAILABLE, UNIMPLEMENTED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED
RESET = "upstream connect error or disconnect/reset before headers. reset reason: "


def local_replies(targets):
    """What the proxy itself says, as grpcio's client understands it."""
    for name, code, message in [
        ("nobody", UNAVAILABLE, "no healthy upstream"),
        ("refused", UNAVAILABLE, RESET + "remote connection failure"),
        ("unrouted", UNIMPLEMENTED, ""),
    ]:
        client = Client(targets[name])
        status(name, client.failure("EmptyCall", b""), code, message)
        try:
            list(client.duplex("FullDuplexCall", iter([b"x"])))
            raise AssertionError(f"{name}: the stream did not fail")
        except grpc.RpcError as error:
            status(f"{name}, stream", error, code, message)
    before = SEEN.cancelled.count("Hold")
    try:
        # Without a deadline of its own: the server would be told of it, no later than the 300 ms, and might end first.
        list(Client(targets["hasty"]).duplex("Hold", iter([b"x"]), timeout=None))
        raise AssertionError("hasty: the stream did not fail")
    except grpc.RpcError as error:
        status("hasty", error, UNAVAILABLE, "upstream request timeout")
    hears("Hold", before)


CASES = [
    empty_unary,
    large_unary,
    client_streaming,
    server_streaming,
    ping_pong,
    empty_stream,
    cancel_after_begin,
    cancel_after_first_response,
    timeout_on_sleeping_server,
    custom_metadata,
    status_code_and_message,
    special_status_message,
    unimplemented_method,
    unimplemented_service,
    deadline_arrives,
    every_status,
    sixteen_mebibytes,
    too_large_for_the_client,
    compressed,
    many_at_once,
    many_messages,
]


def attempt(case, argument):
    print(case.__name__, file=sys.stderr, flush=True)
    try:
        case(argument)
        SEEN.wait("every call ends", lambda seen: seen.running == 0)
    except Exception as error:  # every kind is a finding, and the other cases go on
        return f"{type(error).__name__}: {error}"[:500]
    return None


def main():
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(80), options=UNLIMITED)
    server.add_generic_rpc_handlers([Handlers()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(json.dumps({"port": port}), flush=True)
    targets = json.loads(sys.stdin.readline())
    client = Client(targets["target"])
    report = {case.__name__: attempt(case, client) for case in CASES}
    report["local_replies"] = attempt(local_replies, targets)
    print(json.dumps(report), flush=True)
    server.stop(None)


if __name__ == "__main__":
    main()
