"""The proxies: where each is found, what it calls itself, and who of them are peers.

How each is set up to split 95/5 stands in `weir.py` and `peers.py`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .peers import configure_envoy, configure_floor, configure_haproxy, configure_haproxy_64k, configure_nginx
from .peers import configure_pingora
from .sites import REPOSITORY, Site
from .weir import configure_weir

__all__ = ["CANDIDATE", "PROXIES", "REPOSITORY", "Proxy", "Site", "configure_weir", "find"]


@dataclass(frozen=True)
class Proxy:
    name: str
    """Its row."""
    program: str
    """What is run, and the part that `tests/parts` installs."""
    configure: Callable[[Site], list[str]]
    version_flag: str
    """Empty if it does not say: then its lock file does."""
    peer: bool
    """Whether Weir is to be as good: neither the floor nor Weir itself is meant."""
    images_only: bool = False
    splits_requests: bool = True
    """And not connections, of which a few are no measure of a split."""

    def find(self) -> Path | None:
        return find(self.program)

    def version(self, binary: Path) -> str:
        if not self.version_flag:
            return locked_version(self.program)
        command = [str(binary), self.version_flag]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        if done.returncode != 0:
            return "unknown"
        lines = (done.stdout + done.stderr).replace(str(binary), "").splitlines()
        return next((line.strip() for line in lines if any(mark.isdigit() for mark in line)), "unknown")


def locked_version(crate: str) -> str:
    lock = REPOSITORY / "benches" / crate / "Cargo.lock"
    found = re.search(rf'name = "{crate}"\nversion = "([^"]+)"', lock.read_text() if lock.exists() else "")
    return f"{crate} {found[1]}" if found else "unknown"


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


CANDIDATE, AGAIN = "weir", "weir-again"

PROXIES = (
    Proxy("weir", "weir", configure_weir, "version", peer=False),
    # The same once more: what noise alone makes of a ratio.
    Proxy("weir-again", "weir", configure_weir, "version", peer=False),
    Proxy("haproxy", "haproxy", configure_haproxy, "-v", peer=True),
    Proxy("haproxy-64k", "haproxy", configure_haproxy_64k, "-v", peer=True, images_only=True),
    Proxy("nginx", "nginx", configure_nginx, "-v", peer=True),
    Proxy("pingora", "pingora", configure_pingora, "", peer=True),
    Proxy("envoy", "envoy", configure_envoy, "--version", peer=True),
    # What moving the bytes alone costs: no HTTP is read, so connections are split and not requests.
    Proxy("floor", "haproxy", configure_floor, "-v", peer=False, splits_requests=False),
)
