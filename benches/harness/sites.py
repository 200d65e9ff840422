"""The place that a proxy is set up for: its folder, its ports, the model servers behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .backend import Backend
from .processes import free_port
from .scenarios import WEIGHTS, Protocol, Shape

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Site:
    binary: Path
    folder: Path
    port: int
    protocol: Protocol
    backend: Backend
    shape: Shape = Shape()
    metrics_port: int = field(default_factory=free_port)
    """Where Weir tells its metrics."""
    admin_port: int = field(default_factory=free_port)
    """Where Weir shows the rest."""

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def address(self, version: str) -> str:
        """The version's first endpoint."""
        return self.backend.addresses(version, self.protocol)[0]

    def endpoints(self, version: str, protocol: Protocol | None = None) -> list[str]:
        """All endpoints that the shape wants of the version."""
        wanted = max(1, self.shape.endpoints * WEIGHTS[version] // sum(WEIGHTS.values()))
        count = wanted if self.shape.endpoints > len(WEIGHTS) else 1
        found = self.backend.addresses(version, protocol or self.protocol)[:count]
        assert len(found) == count, f"the backend has only {len(found)} endpoints of {version}"
        return found
