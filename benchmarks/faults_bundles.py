"""Fault suite, bundles that are mutated at random bytes.

With the old checksums they are refused by the file's name. With checksums made anew they are another version,
which never crashes the service, hangs it or makes it answer with what is no number.

    python -m benchmarks.faults_bundles                             about ten minutes
    python -m benchmarks.faults_bundles --damaged 200 --forged 20   one minute

Exits 1 if any of that is not so.
"""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.faults_control import HOME, trained
from model.bundle import ENCODER, NETWORK, SCHEMA, load_bundle, write_manifest
from model.errors import FulcrumError
from model.files import now
from tests.support.service_process import serving, wait_until

JUDGED_S = 150.0
"""Seconds in which a bundle must be in service or refused."""
_PARTS = (NETWORK, NETWORK, NETWORK, ENCODER, SCHEMA)
"""What makes a version, the network most often."""
console = Console(width=None if sys.stdout.isatty() else 120)


def main(
    damaged: Annotated[int, typer.Option(help="Mutations that the checksums show.")] = 2000,
    forged: Annotated[int, typer.Option(help="Mutations with checksums made anew.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the mutations.")] = 1,
    bundle: Annotated[
        Path | None, typer.Option(help="A bundle; one of the demo recipe is trained where absent.")
    ] = None,
    features: Annotated[Path | None, typer.Option(help="The feature store of that bundle.")] = None,
) -> None:
    """Mutate a bundle and see what becomes of it."""
    if bundle is None or features is None:
        bundle, features = trained()
    random = np.random.default_rng(seed)
    run = HOME / "bundles"
    shutil.rmtree(run, ignore_errors=True)
    wrong = _damage(bundle, run / "damaged", damaged, random)
    outcomes, seconds = _forge(bundle, features, run, forged, random)
    table = Table("what", "figure", title="Mutated bundles")
    table.add_row("damaged", f"{damaged:,}")
    table.add_row("of these not refused by the file's name", f"{wrong:,}")
    for outcome, times in sorted(outcomes.items()):
        table.add_row(f"with checksums made anew: {outcome}", f"{times:,}")
    if seconds:
        table.add_row("until judged, s: median, longest", f"{np.median(seconds):.2f}, {max(seconds):.2f}")
    console.print(table)
    if wrong or set(outcomes) - {"in service", "refused"}:
        raise typer.Exit(1)


def _damage(bundle: Path, out: Path, times: int, random: np.random.Generator) -> int:
    """How many damaged bundles were not refused by the damaged file's name."""
    shutil.copytree(bundle, out)
    names = sorted(path.name for path in bundle.iterdir())
    wrong = 0
    for _ in track(range(times), "damaged", console=console, transient=True):
        name = str(random.choice(names))
        (out / name).write_bytes(_mutated((bundle / name).read_bytes(), random))
        try:
            load_bundle(out)
            wrong += 1
        except FulcrumError as error:
            wrong += name not in str(error)
        shutil.copy(bundle / name, out / name)
    return wrong


def _forge(
    bundle: Path, features: Path, run: Path, times: int, random: np.random.Generator
) -> tuple[Counter[str], list[float]]:
    """What became of each bundle that says of itself that it is whole, and how long that took."""
    models = run / "models"
    shutil.copytree(bundle, models / "good")
    example = load_bundle(bundle).manifest.example
    outcomes: Counter[str] = Counter()
    seconds = []
    with (
        serving(run / "log", models=models, features=features, workers=2) as service,
        httpx.Client(base_url=service.url, timeout=30) as http,
    ):
        for number in track(range(times), "forged", console=console, transient=True):
            folder = models / f"forged-{number}"
            _forged(bundle, folder, str(random.choice(_PARTS)), random)
            began = time.monotonic()
            try:
                found = wait_until(lambda folder=folder: _judged(http, folder), JUDGED_S)
            except AssertionError:
                outcomes["HUNG"] += 1
                continue
            seconds.append(time.monotonic() - began)
            outcome = "in service" if found["status"] == "active" else found["status"]
            for _ in range(3):
                answer = http.post("/v1/rank", json=example)
                if answer.status_code != httpx.codes.OK or not _sound(answer.json()):
                    outcome = f"ANSWERED {answer.status_code}"
            outcomes[outcome] += 1
            shutil.rmtree(folder)
        if died := len(service.events("worker_died")):
            outcomes["CRASHED"] = died
    return outcomes, seconds


def _forged(bundle: Path, folder: Path, name: str, random: np.random.Generator) -> None:
    """A mutated bundle, newer than those before, whose checksums are right."""
    fresh = folder.with_name(f".{folder.name}")
    shutil.copytree(bundle, fresh)
    (fresh / name).write_bytes(_mutated((bundle / name).read_bytes(), random))
    fields = load_bundle(bundle).manifest.model_dump(mode="json", exclude={"format", "version", "files"})
    write_manifest(fresh, **{**fields, "created": now()})
    fresh.rename(folder)


def _mutated(content: bytes, random: np.random.Generator) -> bytes:
    """One to four bytes are others, or some are missing, or some are too many."""
    changed = bytearray(content)
    place = int(random.integers(len(changed)))
    match int(random.integers(4)):
        case 0:
            del changed[place : place + int(random.integers(1, 64))]
        case 1:
            changed[place:place] = random.bytes(int(random.integers(1, 64)))
        case _:
            for at in random.integers(len(changed), size=int(random.integers(1, 5))):
                changed[at] ^= int(random.integers(1, 256))
    return bytes(changed)


def _judged(http: httpx.Client, folder: Path) -> dict[str, Any] | None:
    models = http.get("/v1/models").json()["models"]
    found = next((model for model in models if Path(model["path"]).name == folder.name), None)
    return found if found and found["status"] in {"active", "refused"} else None


def _sound(answer: dict[str, Any]) -> bool:
    numbers = [item["score"] for item in answer["items"] if item["score"] is not None]
    numbers += [p for item in answer["items"] for p in (item["predictions"] or {}).values()]
    return bool(answer["items"]) and all(math.isfinite(number) for number in numbers)


if __name__ == "__main__":
    typer.run(main)
