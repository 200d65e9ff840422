"""What is ours and has to be built before it can be measured."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

from .processes import Gone
from .sites import REPOSITORY

BACKEND, LOAD = "bench-backend", "bench-load"


def built(**variables: str) -> dict[str, Path]:
    """Each of our programs, by name: the one that its variable names, or built in release mode."""
    given = {name: os.environ[variable] for name, variable in variables.items() if os.environ.get(variable)}
    missing = [name for name in variables if name not in given]
    # One after the other: built in one go, Weir would have the features of what only its tests depend on.
    made = build("--bin", [name for name in missing if name not in (BACKEND, LOAD)])
    made |= build("--example", [name for name in missing if name in (BACKEND, LOAD)])
    return {name: Path(given[name]).resolve() if name in given else made[name] for name in variables}


def build(kind: str, names: list[str]) -> dict[str, Path]:
    """Builds these targets in release mode and tells where each lies."""
    if not names:
        return {}
    targets = [word for name in names for word in (kind, name)]
    command = ["cargo", "build", "--release", "--message-format=json-render-diagnostics", *targets]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Gone(f"{shlex.join(command)} failed")
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    return {
        message["target"]["name"]: Path(message["executable"])
        for message in messages
        if message.get("executable")
    }


def commit() -> str:
    """What is checked out."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
