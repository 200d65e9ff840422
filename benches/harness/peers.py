"""The other proxies, each told to split 95/5.

Every `configure_...` writes what the proxy needs into a folder of its own and returns the command. They are set up as
somebody would who knows the proxy and wants it fast: no logs, upstream connections kept, windows and limits out of the
way, and what its own documentation advises for measurements.
"""

from __future__ import annotations

import json
import os

from .scenarios import WEIGHTS
from .sites import Site

# ---- HAProxy -------------------------------------------------------------------------------------------------------
#
# Its buffers as they come, 16 KiB each. Whoever sends large bodies through it would raise them, so there is a row for
# that, too. `option splice-auto` was tried on the 602 KB bodies and made no difference beyond the noise.

LARGE = "tune.bufsize 65536"


def configure_haproxy_64k(site: Site) -> list[str]:
    return configure_haproxy(site, f"{LARGE}\n    tune.h2.max-frame-size 65536")


def configure_haproxy(site: Site, tuning: str = "") -> list[str]:
    proto = " proto h2" if site.protocol == "grpc" else ""
    return haproxy(site, "http", proto, "http-reuse always", tuning)


def configure_floor(site: Site) -> list[str]:
    return haproxy(site, "tcp", "", "", LARGE)


def haproxy(site: Site, mode: str, proto: str, reuse: str, tuning: str) -> list[str]:
    places = {version: site.endpoints(version) for version in WEIGHTS}
    # Many endpoints are as many as their weights are to each other. It goes round them in the order of the file: were
    # the second version's the last, it would have none of the first nine hundred requests.
    turns = sorted(
        ((number + 0.5) / len(found), version, number, place)
        for version, found in places.items()
        for number, place in enumerate(found)
    )
    servers = "\n".join(
        f"    server {version}-{number} {place} weight {WEIGHTS[version] if len(places[version]) == 1 else 1}{proto}"
        for _, version, number, place in turns
    )
    path = site.write(
        "haproxy.cfg",
        f"""\
global
    nbthread {site.shape.workers}
    maxconn 4000
    tune.h2.initial-window-size 262144
    tune.h2.max-concurrent-streams 256
    {tuning}

defaults
    mode {mode}
    timeout connect 5s
    timeout client 300s
    timeout server 300s
    timeout http-keep-alive 300s

frontend predict
    bind 127.0.0.1:{site.port}{proto}
    default_backend split

backend split
    balance roundrobin
    {reuse}
{servers}
""",
    )
    return [str(site.binary), "-db", "-f", str(path)]


# ---- nginx ---------------------------------------------------------------------------------------------------------


def configure_nginx(site: Site) -> list[str]:
    servers = "\n".join(
        f"        server {site.address(version)} weight={weight} max_fails=0;" for version, weight in WEIGHTS.items()
    )
    if site.protocol == "grpc":
        listen = f"listen 127.0.0.1:{site.port} http2 backlog=4096;"
        forward = "grpc_pass grpc://split;"
    else:
        listen = f"listen 127.0.0.1:{site.port} backlog=4096;"
        forward = 'proxy_pass http://split; proxy_http_version 1.1; proxy_set_header Connection "";'
    # Started by root, its worker would become somebody who may not enter our folder.
    user = "user root;" if os.geteuid() == 0 else ""
    path = site.write(
        "nginx.conf",
        f"""\
daemon off;
{user}
worker_processes {site.shape.workers};
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
    client_body_buffer_size 256k;
    http2_body_preread_size 256k;
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
        {listen}
        location / {{ {forward} }}
    }}
}}
""",
    )
    return [str(site.binary), "-p", str(site.folder), "-e", "stderr", "-c", str(path)]


# ---- Pingora -------------------------------------------------------------------------------------------------------


def configure_pingora(site: Site) -> list[str]:
    """A library, not a program: `benches/pingora` is the program, with nothing to configure but this."""
    versions = [f"{site.address(version)}={weight}" for version, weight in WEIGHTS.items()]
    protocol = "grpc" if site.protocol == "grpc" else "http1"
    return [str(site.binary), f"127.0.0.1:{site.port}", protocol, str(site.shape.workers), *versions]


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
    router = {"@type": f"{TYPES}.filters.http.router.v3.Router", "dynamic_stats": False}
    connection_manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "predict",
        "codec_type": "HTTP2" if site.protocol == "grpc" else "HTTP1",
        "generate_request_id": False,
        "route_config": routes,
        "http_filters": [
            {"name": "router", "typed_config": router},
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
    return [str(site.binary), "-c", str(path), "--concurrency", str(site.shape.workers), *quiet]


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
