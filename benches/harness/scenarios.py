"""What is measured: a row of `SCENARIOS` is all that a new scenario takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from .payloads import IMAGE_BYTES, MODEL, grpc_predict, rest_predict
from .targets import BEST, FLOOR, ITSELF, Target

Protocol = Literal["rest", "grpc"]
Mode = Literal["closed", "open", "start"]

# The service, and its one rule, that every proxy is configured with.
SERVICE = MODEL
WEIGHTS = {"v1": 95, "v2": 5}
# As python-requests sends it, with a request id. What stands in braces is new in each request (`bench-load --help`).
REST_HEADERS = (
    "user-agent: python-requests/2.32.3",
    "accept-encoding: gzip, deflate",
    "accept: */*",
    "x-request-id: {8x}-{4x}-4{3x}-a{3x}-{12x}",
)
# As grpc-go sends it, with a deadline five seconds away and W3C trace context.
GRPC_HEADERS = (
    "te: trailers",
    "user-agent: grpc-go/1.72.0",
    "grpc-accept-encoding: gzip",
    "grpc-timeout: 499{4d}u",
    "traceparent: 00-{32x}-{16x}-01",
)


@dataclass(frozen=True)
class Shape:
    """How large a proxy is set up. Of the others, `workers` concerns all, `endpoints` HAProxy."""

    workers: int = 1
    services: int = 0
    """0: one listener for the one service. Else so many, told apart by Host."""
    rules_by_service: int = 1
    """All but the last ask for something that no caller sends."""
    endpoints: int = 2
    """Of all versions together, shared out by weight."""
    access_log: bool = False
    tracing: bool = False
    """Of one request in a hundred, where its caller has not decided that."""


@dataclass(frozen=True)
class Itself:
    """Weir, set up otherwise, with which Weir is compared."""

    name: str
    shape: Shape
    peers: tuple[str, ...] = ()
    """Set up in the same two ways, to tell what of the difference is Weir's own; other proxies take no part."""

    def of(self, peer: str) -> str:
        """The name of a peer that is set up so."""
        return self.name.replace("weir", peer, 1)


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    protocol: Protocol
    connections: int
    streams: int
    """Requests under way at once on each connection."""
    body: bytes
    targets: tuple[Target, ...]
    mode: Mode = "closed"
    """`closed`: each stream sends the next request when it has the answer. `open`: requests are due at a fixed rate,
    and late ones count from when they were due. `start`: the proxy is started, and asked once."""
    new_connections: bool = False
    """A connection for each request."""
    idle: int = 0
    """More connections, that have asked once and then only stay."""
    shape: Shape = Shape()
    against: Itself | None = None
    length: float = 1.0
    """How much longer than others a round is."""
    rewarm_seconds: float = 0.0
    """Load before each round, outside of what is measured: for connections that end while others have their turn."""
    changes_per_second: float = 0.0
    """How often the candidate's rules are replaced while the load runs."""
    scraped: bool = False
    """Whether the candidate's metrics are read each second."""
    watched: bool = False
    """Whether somebody has its live page open, too."""

    @property
    def path(self) -> str:
        """The path that TensorFlow Serving has for a prediction."""
        if self.protocol == "grpc":
            return "/tensorflow.serving.PredictionService/Predict"
        return f"/v1/models/{SERVICE}:predict"

    @property
    def host(self) -> str:
        """Whom callers ask for."""
        return service_name(0) if self.shape.services else SERVICE

    @property
    def content_type(self) -> str:
        return "application/grpc" if self.protocol == "grpc" else "application/json"

    @property
    def headers(self) -> list[str]:
        """Beside the content type: what real callers send, part of it new in each request.

        With many rules, one more that they look at, and that none of them but the last wants."""
        found = list(GRPC_HEADERS if self.protocol == "grpc" else REST_HEADERS)
        if self.protocol == "rest" and not self.new_connections:
            found.append("connection: keep-alive")
        return [*found, "x-group: public"] if self.shape.services else found


def service_name(number: int) -> str:
    return f"model-{number}"


# ---- targets that several scenarios share --------------------------------------------------------------------------

PSS = (Target("pss", 20, None, aim=(1.0, "haproxy")), Target("pss", 0.3, "envoy"))
SELF_PSS = (Target("pss", 20, None),)
START = (Target("pss", 8, None), Target("ready", 50, None))
ONE = (Target("p50", 1.1, BEST, aim=(1.0, FLOOR)), Target("p99", 1.1, BEST, aim=(1.0, FLOOR)))
# Not beside Envoy's memory: at this rate it is often left out.
THIRD = (Target("p99", 1.1, BEST, aim=(1.0, BEST)), Target("p999", 1.1, BEST, aim=(1.0, BEST)), PSS[0])

# ---- the scenarios -------------------------------------------------------------------------------------------------

REST = Scenario(
    name="rest-predict",
    title="REST predict, 600 bytes, 64 connections",
    protocol="rest",
    connections=64,
    streams=1,
    body=rest_predict(600),
    targets=(Target("cpu", 1.15, BEST, aim=(1.0, BEST)), *PSS),
)
GRPC = Scenario(
    name="grpc-predict",
    title="gRPC predict, 500 bytes, 16 connections x 16 streams",
    protocol="grpc",
    connections=16,
    streams=16,
    body=grpc_predict(500),
    targets=(Target("cpu", 1.5, "haproxy", aim=(1.0, "haproxy")), Target("cpu", 0.35, "envoy"), *PSS),
)
REST_IMAGE = replace(
    REST,
    name="rest-image",
    title="REST predict, 602,112 bytes, 16 connections",
    connections=16,
    body=rest_predict(IMAGE_BYTES),
    targets=(Target("cpu", 1.1, BEST, aim=(1.0, BEST)), Target("pss", 48, None)),
)
GRPC_IMAGE = replace(
    GRPC,
    name="grpc-image",
    title="gRPC predict, 602,112 bytes, 8 connections x 2 streams",
    connections=8,
    streams=2,
    body=grpc_predict(IMAGE_BYTES),
    targets=(Target("cpu", 1.15, BEST, aim=(1.0, BEST)),),
)


def rest(name: str, title: str, targets: tuple[Target, ...] = PSS, **other: Any) -> Scenario:
    return replace(REST, name=name, title=title, targets=targets, **other)


MANY = Shape(services=1_000, rules_by_service=10)
FEW = Shape(services=10, rules_by_service=10)

RELOAD: dict[str, Any] = {
    "targets": (Target("p99", 1.2, ITSELF), *SELF_PSS),
    "mode": "open",
    "shape": FEW,
    "against": Itself("weir-still", FEW),
}

SCENARIOS = (
    REST,
    GRPC,
    REST_IMAGE,
    GRPC_IMAGE,
    rest("rest-one", "REST predict, one connection", (*ONE, *PSS), connections=1),
    replace(GRPC, name="grpc-one", title="gRPC predict, one stream", connections=1, streams=1, targets=(*ONE, *PSS)),
    rest("rest-30", "REST predict at 30 % of the slowest's saturation", THIRD, mode="open"),
    replace(GRPC, name="grpc-30", title="gRPC at 30 % of the slowest's saturation", mode="open", targets=THIRD),
    rest("idle-1000", "1,000 idle connections while one asks", connections=1, idle=1_000),
    rest("rest-new", "REST predict, a new connection each request", new_connections=True),
    rest("rest-1000", "REST predict, 1,000 connections at once", connections=1_000),
    rest("workers-2", "REST predict, two workers", shape=Shape(workers=2)),
    rest(
        "rules-10000",
        "10,000 rules over 1,000 services, the last of ten matches",
        (Target("cpu", 1.05, ITSELF),),
        shape=MANY,
        against=Itself("weir-1-rule", Shape(services=1)),
    ),
    rest(
        "endpoints-1000",
        "1,000 endpoints",
        (Target("cpu", 1.05, ITSELF), *SELF_PSS),
        shape=Shape(endpoints=1_000),
        against=Itself("weir-2-endpoints", Shape(), peers=("haproxy",)),
        rewarm_seconds=0.3,
    ),
    # What comes into force is fewer: Weir waits for 200 ms of quiet, but no longer than a second.
    rest("reload-10", "100 rules replaced ten times a second", **RELOAD, changes_per_second=10, length=3),
    # The most that come into force one by one.
    rest("reload-4", "100 rules replaced four times a second", **RELOAD, changes_per_second=4, length=2),
    rest(
        "access-log",
        "a JSON access log",
        (Target("cpu", 1.15, ITSELF), *SELF_PSS),
        shape=Shape(access_log=True),
        against=Itself("weir-no-log", Shape()),
    ),
    rest(
        "tracing",
        "1 % of the requests traced",
        (Target("cpu", 1.05, ITSELF), *SELF_PSS),
        shape=Shape(tracing=True),
        against=Itself("weir-untraced", Shape()),
    ),
    rest("scrape", "a scrape each second", SELF_PSS, against=Itself("weir-unscraped", Shape()), scraped=True),
    rest(
        "watched",
        "the live page open, and a scrape each second",
        (Target("cpu", 1.02, ITSELF), *SELF_PSS),
        against=Itself("weir-unwatched", Shape()),
        scraped=True,
        watched=True,
    ),
    rest("start", "from exec to the first answer, then idle", START, mode="start"),
)
