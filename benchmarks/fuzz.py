"""`make faults`: what a service does when it is fed rubbish.

    python -m benchmarks.fuzz bodies        mutated request bodies
    python -m benchmarks.fuzz schema        cases drawn from the OpenAPI document by Schemathesis

Every case has an answer in good time, none is a server error, and the service is well afterwards.
"""

from __future__ import annotations

import asyncio
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import typer
from rich.table import Table

from benchmarks.load import Callers
from benchmarks.rig import HOME, console, finish, running_service

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.command()
def bodies(
    count: int = typer.Option(200_000, help="Mutated bodies."),
    seed: int = typer.Option(0, help="Of the mutations."),
) -> None:
    """Send mutated bodies: every one has its answer, and none is the service's fault."""
    with running_service(features=str(HOME / "features"), max_body_bytes=65_536) as service:
        assert {httpx.post(f"{service.url}/v1/rank", content=body).status_code for body in _SOUND} == {200}
        supply = _mutated(random.Random(seed), count)
        began = time.perf_counter()
        replies = asyncio.run(Callers(service.url).one_after_another(8, supply))
        took = time.perf_counter() - began
        statuses = Counter(reply.status for reply in replies)
        table = Table("status", "answers", title=f"{count:,} mutated bodies, {count / took:,.0f} a second")
        for status, times in sorted(statuses.items()):
            table.add_row(str(status or "none"), f"{times:,}")
        slowest = max(reply.seconds for reply in replies)
        alive = httpx.get(f"{service.url}/readyz").status_code == 200
    sound = alive and slowest < 5 and not any(status == 0 or status >= 500 for status in statuses)
    finish(table, [] if sound else [f"mutated bodies: alive {alive}, slowest {slowest:.1f} s"])


@app.command()
def schema(
    count: int = typer.Option(20_000, help="Cases of an operation with input, at most."),
    seed: int = typer.Option(1, help="Of the cases: several short runs with a seed each draw other ones."),
    path: str = typer.Option("/v1/rank", help="The operation; all of them where empty."),
) -> None:
    """Draw cases from the OpenAPI document."""
    with running_service(features=str(HOME / "features")) as service:
        command = [
            str(Path(sys.executable).with_name("schemathesis")), "run", f"{service.url}/openapi.json",
            "--url", service.url,
            "--phases", "fuzzing", "--mode", "all", "--max-examples", str(count), "--seed", str(seed),
            "--checks", "not_a_server_error", "--no-color", "--continue-on-failure", "--max-failures", "20",
            *(("--include-path", path) if path else ()),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        alive = httpx.get(f"{service.url}/readyz").status_code == 200
    console.print(done.stdout[-2500:], markup=False, highlight=False)
    drawn = re.search(r"([\d,]+) generated", done.stdout)
    cases = int(drawn[1].replace(",", "")) if drawn else 0
    table = Table("cases", "outcome", title="Schemathesis")
    table.add_row(f"{cases:,}", "no server error" if done.returncode == 0 else f"exit code {done.returncode}")
    finish(table, [] if alive and done.returncode == 0 else ["schema-driven cases"])


_SOUND = [
    orjson.dumps({"user_id": "1", "timeout_ms": 4000, **rest})
    for rest in (
        {"candidate_ids": ["0", "1", "2", "nobody"], "top_k": 3, "scene": "feed", "fields": []},
        {
            "request_id": "r-1",
            "explain": True,
            "fields": ["predictions"],
            "user_features": {"u0": "3", "u20": None},
            "candidates": [{"id": str(n), "video_len": 31.5, "features": {"i0": n}} for n in range(3)],
        },
    )
]
_WORDS = (
    *(b"null", b"true", b"-1", b"1e999", b"1e-320", b"NaN", b"0.1", b"99999999999999999999", b"0" * 400),
    *(b"{}", b"[]", b'""', b"[[[[[[", b",", b":", b'"', b"}", b"]", b" ", b"\\"),
    *(b"\\u0000", b"\\ud800", b'"\xf0\x9f\x8e\xac"', b"\xff", b"\x00", b'"id":"0",', b'"top_k":0,'),
    *(b'"user_id"', b'"candidates"', b'"candidate_ids":["1"],', b'"context":{},', b'"timeout_ms":1,'),
)


def _mutated(draw: random.Random, count: int) -> Iterator[bytes]:
    """Sound bodies with one to five changes: bytes flipped, cut, doubled, moved, and words put in."""
    for _ in range(count):
        body = bytearray(draw.choice(_SOUND))
        for _ in range(draw.randint(1, 5)):
            at = draw.randrange(len(body) + 1)
            to = min(len(body), at + draw.choice((1, 1, 1, 4, 30)))
            match draw.randrange(6):
                case 0 if at < len(body):
                    body[at] = draw.randrange(256)
                case 1:
                    del body[at:to]
                case 2:
                    body[at:at] = body[at:to]
                case 3:
                    body[at:at] = draw.choice(_WORDS)
                case 4:
                    body[at:to] = draw.choice(_WORDS)
                case 5 if draw.random() < 0.2:
                    del body[at:]
        yield bytes(body)


if __name__ == "__main__":
    app()
