#!/usr/bin/env python3
"""Where the instructions of a request go, part by part: reads a profile that `benches/instructions --keep DIR` left.

    benches/instructions --scenario rest-predict --keep DIR
    benches/harness/profile.py DIR/rest-predict-callgrind/profile.2 --requests 2000

`profile.2` is the first round; a round has 2,000 requests of rest-predict, 3,200 of grpc-predict and 100 of an image.
Each instruction counts for the function that it runs in; what the compiler inlined there counts with it.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# The first that is found in a function's name has it.
PARTS = (
    ("HTTP/1 codec", r"weir::message::http1"),
    ("HTTP/2 engine", r"weir::message::http2|\bh2::"),
    ("path, host, hop-by-hop", r"weir::message"),
    ("route and split", r"weir::router|weir::proxy::(split|route)|weir::snapshot"),
    ("metrics and log", r"weir::telemetry"),
    ("pools, balance, breakers", r"weir::upstream"),
    ("sockets", r"weir::transport"),
    ("life of a request", r"weir::proxy"),
    ("runtime of ours", r"weir::"),
    ("header maps", r"\bhttp::"),
    ("buffers", r"\bbytes::"),
    ("tokio, mio", r"\b(tokio|mio|futures\w*|hyper\w*)::"),
    ("allocator", r"^_?(mi_|mi_free|malloc|free|calloc|realloc|posix_memalign)|mimalloc|__rust\w*alloc"),
    ("copying and comparing", r"^_*(mem(cpy|move|set|cmp|chr)|bcmp)|^memchr::|__mem"),
    ("system calls, their user half", r"^_*(readv?|writev?|recv\w*|send\w*|epoll_\w+|syscall|clock_gettime)\b|vdso"),
    ("standard library", r"\b(core|alloc|std|hashbrown)::"),
    ("other", r""),
)


def costs(profile: Path) -> Iterator[tuple[str, int]]:
    """Each line's function and its own instructions; what it called is left out (callgrind's format, version 1)."""
    names: dict[str, str] = {}
    function, is_call = "?", False
    with profile.open(errors="replace") as lines:
        for line in lines:
            if line.startswith(("fn=", "cfn=")):
                name = named(names, line.rstrip("\n").partition("=")[2])
                function = name if line.startswith("fn=") else function
            elif line.startswith("calls="):
                is_call = True  # the next line's cost is the callee's
            elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
                fields = line.split()
                if not is_call and len(fields) > 1:
                    yield function, int(fields[1])
                is_call = False


def named(names: dict[str, str], text: str) -> str:
    """`(7) name` where it stands first, `(7)` from then on."""
    found = re.match(r"(\(\d+\))(?: (.*))?$", text)
    if not found:
        return text
    if found[2]:
        names[found[1]] = found[2]
    return names.get(found[1], "?")


def part(function: str) -> str:
    return next(name for name, pattern in PARTS if re.search(pattern, function))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", type=Path)
    parser.add_argument("--requests", type=int, required=True, metavar="N", help="requests of one round")
    parser.add_argument("--functions", type=int, default=0, metavar="N", help="the N most costly functions, too")
    chosen = parser.parse_args()
    functions: Counter[str] = Counter()
    for function, cost in costs(chosen.profile):
        functions[function] += cost
    parts: Counter[str] = Counter()
    for function, cost in functions.items():
        parts[part(function)] += cost
    total = sum(functions.values())
    print("| part | instructions/request | share |\n|---|---:|---:|")
    for name, cost in parts.most_common():
        print(f"| {name} | {cost / chosen.requests:,.0f} | {cost / total:.1%} |")
    print(f"| all | {total / chosen.requests:,.0f} | |")
    for function, cost in functions.most_common(chosen.functions):
        print(f"{cost / chosen.requests:10,.0f}  {part(function):24}  {function[:120]}")


if __name__ == "__main__":
    main()
