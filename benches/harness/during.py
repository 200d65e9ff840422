"""What happens to Weir while the load runs: its rules change, or its metrics are read. And what it says of itself."""

from __future__ import annotations

import gzip
import http.client
import itertools
import re
import threading
import time
from collections.abc import Callable
from http import HTTPStatus

from .processes import Gone
from .scenarios import Scenario, service_name
from .sites import Site
from .weir import RULES, rules

PAGE_SECONDS = 10.0
# What the live page asks each second while it is seen.
PAGE_ASKS = ("/splits?minutes=5&sort=trouble&limit=100", "/config_dump?verdicts", "/server_info")
FIRST_EDITION = 7_000_000  # a number that stands nowhere else in the rules
# No edition comes back: of two that take turns a look might find the one in force, and nothing to do.
EDITIONS = itertools.count(FIRST_EDITION + 1)


class Repeated:
    """Does something at fixed intervals, on a thread of its own, while a `with` block runs."""

    def __init__(self, action: Callable[[], object], every_seconds: float, first_seconds: float) -> None:
        self._action = action
        self._every_seconds = every_seconds
        self._first_seconds = first_seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.times = 0
        self.fault = ""

    def _run(self) -> None:
        due = time.monotonic() + self._first_seconds
        while not self._done.wait(max(0.0, due - time.monotonic())):
            try:
                self._action()
            except (OSError, Gone) as fault:
                self.fault = str(fault)
                return
            self.times += 1
            due += self._every_seconds

    def __enter__(self) -> Repeated:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def reloading(scenario: Scenario, site: Site) -> Repeated:
    """Another edition of the rules each time, put in place at once, as one would by hand."""
    names = [service_name(number) for number in range(scenario.shape.services)]
    edition = rules(names, scenario.shape.rules_by_service, FIRST_EDITION)
    # Outside of the folder of rules, in which a half-written file would be a fault.
    place, fresh = site.folder / RULES / "0.yaml", site.folder / "next"

    def change() -> None:
        fresh.write_text(edition.replace(str(FIRST_EDITION), str(next(EDITIONS))))
        fresh.replace(place)

    return Repeated(change, 1 / scenario.changes_per_second, 0.0)


def scraping(site: Site) -> Repeated:
    """Soon after the round's begin, and each second after: a round of one second has one."""
    return Repeated(lambda: metrics(site), 1.0, 0.02)


def watching(site: Site) -> Repeated:
    """The live page, and a scrape beside it."""
    return Repeated(lambda: look(site), 1.0, 0.02)


def look(site: Site) -> None:
    """What they ask each second."""
    for path in PAGE_ASKS:
        page(site.admin_port, path)
    metrics(site)


def metrics(site: Site) -> str:
    """Weir's whole page of metrics."""
    return page(site.metrics_port, "/metrics")


def page(port: int, path: str) -> str:
    """What Weir answers there."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PAGE_SECONDS)
    try:
        # As Prometheus asks.
        client.request("GET", path, headers={"accept-encoding": "gzip"})
        answer = client.getresponse()
        body = answer.read()
        text = (gzip.decompress(body) if answer.getheader("content-encoding") == "gzip" else body).decode()
        if answer.status != HTTPStatus.OK:
            raise Gone(f"{path}: status {answer.status}: {text}")
        return text
    except http.client.HTTPException as error:
        raise Gone(f"{path}: {error!r}") from error
    finally:
        client.close()


def metric(site: Site, series: str) -> float:
    """One series, by its whole name; 0 if it is not there."""
    found = re.search(rf"^{re.escape(series)} (\S+)$", metrics(site), re.MULTILINE)
    return float(found[1]) if found else 0.0
