"""The proxies: where each is found, and how it is told to split 95/5 with one worker.

Each `configure_...` writes what the proxy needs into a folder of its own and returns the command. They are set up as
somebody would who knows the proxy and wants it fast: no logs, upstream connections kept, windows and limits out of
the way. Weir alone runs as it is shipped, all limits at their defaults and metrics on.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .backend import Backend
from .processes import free_port
from .scenarios import SERVICE, WEIGHTS, Protocol

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Site:
    """What a proxy is configured for."""

    binary: Path
    folder: Path
    port: int
    protocol: Protocol
    backend: Backend

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def address(self, version: str) -> str:
        return self.backend.address(version, self.protocol)


@dataclass(frozen=True)
class Proxy:
    name: str
    """Its row."""
    program: str
    """What is run, and the part that `tests/parts` installs."""
    configure: Callable[[Site], list[str]]
    version_flag: str
    optional: bool
    """Whether it takes part only on demand."""

    def find(self) -> Path | None:
        return find(self.program)

    def version(self, binary: Path) -> str:
        command = [str(binary), self.version_flag]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        if done.returncode != 0:
            return "unknown"
        lines = (done.stdout + done.stderr).replace(str(binary), "").splitlines()
        return next((line.strip() for line in lines if any(mark.isdigit() for mark in line)), "unknown")


def find(name: str) -> Path | None:
    """The program of a part: $WEIR_BIN (or $HAPROXY_BIN ...), then where `tests/parts` installs, then the PATH."""
    chosen = os.environ.get(f"{name.upper()}_BIN")
    if chosen:
        return Path(chosen).resolve()
    parts = [os.environ.get("WEIR_PARTS_DIR"), REPOSITORY / "target/parts"]
    folders = [str(Path(part) / "bin") for part in parts if part]
    # Servers live in sbin, which an ordinary user's PATH often lacks.
    folders += [os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"]
    found = shutil.which(name, path=os.pathsep.join(folders))
    return Path(found) if found else None


# ---- Weir ----------------------------------------------------------------------------------------------------------


def configure_weir(site: Site) -> list[str]:
    # JSON is YAML, and cannot be indented wrongly.
    rule = {
        "apiVersion": "config.istio.io/v1alpha2",
        "kind": "RouteRule",
        "metadata": {"name": "canary", "namespace": "default"},
        "spec": {
            "destination": {"name": SERVICE},
            "precedence": 1,
            "route": [{"labels": {"version": name}, "weight": weight} for name, weight in WEIGHTS.items()],
        },
    }
    endpoints = [
        {
            "grpc": site.backend.address(version, "grpc"),
            "http": site.backend.address(version, "rest"),
            "labels": {"version": version},
        }
        for version in WEIGHTS
    ]
    config = {
        "workers": 1,
        "admin": {
            "address": f"127.0.0.1:{free_port()}",
            "metrics_address": f"127.0.0.1:{free_port()}",
        },
        "listeners": [{"name": "predict", "address": f"127.0.0.1:{site.port}", "service": SERVICE}],
        "services": [{"name": SERVICE, "endpoints": endpoints}],
        "rules": ["rules.yaml"],
    }
    site.write("rules.yaml", json.dumps(rule, indent=2))
    path = site.write("weir.yaml", json.dumps(config, indent=2))
    return [str(site.binary), "proxy", "-c", str(path)]


# ---- HAProxy -------------------------------------------------------------------------------------------------------
#
# The baseline keeps HAProxy's buffers as they come, 16 KiB each; that is what Weir's targets were set against. Whoever
# sends large bodies through it would raise them, so there is a row for that, too. `option splice-auto` was tried on
# the 602 KB bodies and made no difference beyond the noise.


def configure_haproxy_64k(site: Site) -> list[str]:
    return configure_haproxy(site, "tune.bufsize 65536")


def configure_haproxy(site: Site, tuning: str = "") -> list[str]:
    proto = " proto h2" if site.protocol == "grpc" else ""
    servers = "\n".join(
        f"    server {version} {site.address(version)} weight {weight}{proto}"
        for version, weight in WEIGHTS.items()
    )
    path = site.write(
        "haproxy.cfg",
        f"""\
global
    nbthread 1
    maxconn 4000
    tune.h2.initial-window-size 262144
    tune.h2.max-concurrent-streams 256
    {tuning}

defaults
    mode http
    timeout connect 5s
    timeout client 300s
    timeout server 300s
    timeout http-keep-alive 300s

frontend predict
    bind 127.0.0.1:{site.port}{proto}
    default_backend split

backend split
    balance roundrobin
    http-reuse always
{servers}
""",
    )
    return [str(site.binary), "-db", "-f", str(path)]


# ---- nginx ---------------------------------------------------------------------------------------------------------


def configure_nginx(site: Site) -> list[str]:
    servers = "\n".join(
        f"        server {site.address(version)} weight={weight} max_fails=0;"
        for version, weight in WEIGHTS.items()
    )
    if site.protocol == "grpc":
        listen = "listen 127.0.0.1:{port} http2;"
        forward = "grpc_pass grpc://split;"
    else:
        listen = "listen 127.0.0.1:{port};"
        forward = 'proxy_pass http://split; proxy_http_version 1.1; proxy_set_header Connection "";'
    # Started by root, its worker would become somebody who may not enter our folder.
    user = "user root;" if os.geteuid() == 0 else ""
    path = site.write(
        "nginx.conf",
        f"""\
daemon off;
{user}
worker_processes 1;
error_log stderr error;
pid {site.folder}/nginx.pid;
events {{ worker_connections 20000; }}
http {{
    access_log off;
    client_body_temp_path {site.folder}/client_body;
    proxy_temp_path {site.folder}/proxy;
    fastcgi_temp_path {site.folder}/fastcgi;
    uwsgi_temp_path {site.folder}/uwsgi;
    scgi_temp_path {site.folder}/scgi;
    tcp_nodelay on;
    client_max_body_size 0;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    http2_max_concurrent_streams 256;
    proxy_request_buffering off;
    upstream split {{
{servers}
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    server {{
        {listen.format(port=site.port)}
        location / {{ {forward} }}
    }}
}}
""",
    )
    return [str(site.binary), "-p", str(site.folder), "-e", "stderr", "-c", str(path)]


# ---- Envoy ---------------------------------------------------------------------------------------------------------

TYPES = "type.googleapis.com/envoy.extensions"


def configure_envoy(site: Site) -> list[str]:
    split = {"clusters": [{"name": name, "weight": weight} for name, weight in WEIGHTS.items()]}
    routes = {
        "name": "split",
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "routes": [
                    {"match": {"prefix": "/"}, "route": {"weighted_clusters": split, "timeout": "0s"}},
                ],
            }
        ],
    }
    connection_manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "predict",
        "codec_type": "HTTP2" if site.protocol == "grpc" else "HTTP1",
        "generate_request_id": False,
        "route_config": routes,
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"}},
        ],
    }
    listener = {
        "name": "predict",
        "address": socket_address(f"127.0.0.1:{site.port}"),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": connection_manager}]}],
    }
    bootstrap = {
        "static_resources": {
            "listeners": [listener],
            "clusters": [envoy_cluster(site, version) for version in WEIGHTS],
        }
    }
    path = site.write("envoy.json", json.dumps(bootstrap, indent=2))
    quiet = ["--log-level", "warning", "--disable-hot-restart"]
    return [str(site.binary), "-c", str(path), "--concurrency", "1", *quiet]


def envoy_cluster(site: Site, version: str) -> dict[str, object]:
    options = "http2_protocol_options" if site.protocol == "grpc" else "http_protocol_options"
    no_limit = {"max_connections": 10000, "max_pending_requests": 10000, "max_requests": 10000}
    endpoint = {"endpoint": {"address": socket_address(site.address(version))}}
    return {
        "name": version,
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [no_limit]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{TYPES}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {options: {}},
            }
        },
        "load_assignment": {"cluster_name": version, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def socket_address(address: str) -> dict[str, object]:
    host, port = address.split(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


# The first is the candidate, the second what it is compared with.
PROXIES = (
    Proxy("weir", "weir", configure_weir, "version", optional=False),
    Proxy("haproxy", "haproxy", configure_haproxy, "-v", optional=False),
    Proxy("haproxy-64k", "haproxy", configure_haproxy_64k, "-v", optional=True),
    Proxy("nginx", "nginx", configure_nginx, "-v", optional=True),
    Proxy("envoy", "envoy", configure_envoy, "--version", optional=True),
)
CANDIDATE, BASELINE = "weir", "haproxy"
