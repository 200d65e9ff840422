"""Weir as it is shipped: limits at their defaults, all metrics on, the even split; and the same with much to know."""

from __future__ import annotations

import json
from pathlib import Path

from .collector import collector
from .processes import free_port
from .scenarios import SERVICE, WEIGHTS, service_name
from .sites import Site

# Services whose rules share a file: a file may have 4 MiB.
SERVICES_BY_FILE = 100
# What the rules before the last one ask of the header `x-group`, which callers send as `public`; and of the path.
NOBODY: tuple[dict[str, dict[str, str]], ...] = (
    *({"x-group": {"exact": f"group-{number}"}} for number in range(5)),
    {"x-group": {"prefix": "team-"}},
    {"x-group": {"prefix": "site-"}},
    {"uri": {"prefix": "/v2/"}},
    {"x-group": {"regex": "^tenant-[0-9]+$"}},
)
ACCESS_LOG = "access.log"
RULES = "rules"


def configure_weir(site: Site) -> list[str]:
    shape = site.shape
    # The one that is asked for stands last.
    names = [service_name(number) for number in reversed(range(shape.services))] or [SERVICE]
    listener = {"name": "predict", "address": f"127.0.0.1:{site.port}"}
    config: dict[str, object] = {
        "workers": shape.workers,
        "admin": {
            "address": f"127.0.0.1:{site.admin_port}",
            "metrics_address": f"127.0.0.1:{site.metrics_port}",
        },
        "listeners": [listener if shape.services else {**listener, "service": SERVICE}],
        "services": [{"name": name, "endpoints": endpoints(site)} for name in names],
        "rules": [f"{RULES}/"],
    }
    if shape.access_log:
        # Beside the configuration, whose folder is watched, each line would be a change to look at.
        place = site.folder / "log"
        place.mkdir()
        config["access_log"] = {"path": str(place / ACCESS_LOG), "format": "json"}
    if shape.tracing:
        config["tracing"] = {"endpoint": f"http://{collector()}", "protocol": "http", "sample_percent": 1}
    (site.folder / RULES).mkdir()
    for start in range(0, len(names), SERVICES_BY_FILE):
        part = names[start : start + SERVICES_BY_FILE]
        site.write(f"{RULES}/{start}.yaml", rules(part, shape.rules_by_service))
    path = site.write("weir.yaml", json.dumps(config))  # JSON is YAML, and cannot be indented wrongly
    return [str(site.binary), "proxy", "-c", str(path)]


def endpoints(site: Site) -> list[dict[str, object]]:
    """The first endpoint of each version, or so many of all as the shape asks for."""
    found: list[dict[str, object]] = []
    for version in WEIGHTS:
        pairs = zip(site.endpoints(version, "rest"), site.endpoints(version, "grpc"), strict=True)
        found += [{"grpc": grpc, "http": rest, "labels": {"version": version}} for rest, grpc in pairs]
    return found


def rules(services: list[str], count: int, edition: int = 0) -> str:
    """Of each service's `count` rules the last one splits; `edition` changes what the first of several asks for."""
    documents = []
    for service in services:
        for place in range(count):
            last = place == count - 1
            spec: dict[str, object] = {"destination": {"name": service}, "precedence": count - place}
            if last:
                spec["route"] = [{"labels": {"version": name}, "weight": weight} for name, weight in WEIGHTS.items()]
            else:
                wanted = NOBODY[place % len(NOBODY)]
                if place == 0 and edition:
                    wanted = {"x-group": {"exact": f"edition-{edition}"}}
                spec["match"] = {"request": {"headers": wanted}}
                spec["route"] = [{"labels": {"version": "v2"}}]
            documents.append(
                {
                    "apiVersion": "config.istio.io/v1alpha2",
                    "kind": "RouteRule",
                    "metadata": {"name": f"{service}-{place}", "namespace": "default"},
                    "spec": spec,
                }
            )
    return "\n---\n".join(json.dumps(document) for document in documents) + "\n"


def access_log(folder: Path) -> Path:
    """Where the log of a Weir that was set up in this folder lies."""
    return folder / "log" / ACCESS_LOG
