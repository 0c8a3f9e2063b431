"""The controller of experiments on traffic whose truth is known: planted faults, kills, late events, size.

Requests are dealt to arms as a service deals them, logged as it logs them, joined and judged; a clock goes
from look to look. Of the synthetic world's requests, what a bad revision and a bad bundle answer is ranked,
and its viewers respond. There is no HTTP in it: tests/support/experiment_service.py keeps the contract.

    python -m benchmarks.watch [--only revision ...] [--runs N] [--bundle build/demo/bundle] [--json]
"""

from __future__ import annotations

import json as jsons
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.experiments import Row, mean, share
from benchmarks.watch_world import BUNDLE, Faults
from model.events import EventCatalogue
from model.experiments import Experiment, Guardrail, Terms
from tests.support.controller_kills import PLANNED, Killer, killed, prepared, random_killer
from tests.support.experiment_service import HOUR_MS, Clock, ExperimentService
from tests.support.experiment_site import START_MS
from tests.support.experiment_traffic import Traffic
from training.experiments.watching.controller import Controller, Joined
from training.experiments.watching.looking import looked
from training.experiments.watching.measures import Measures
from training.experiments.watching.reading import ExperimentLog

REQUESTS_AN_HOUR, LOOKS_AN_HOUR = 2_000, 4
RAMP = 1_000
RAMPS = ({"to": 3_000, "hours": 1, "units": 50}, {"to": 10_000, "hours": 1, "units": 100})
"""A canary: from a tenth of the traffic to all of it in two hours."""
HOURS, ALIKE_HOURS = 16, 4
"""That faults, and arms that are alike, are watched at most."""
TERMS = Terms(
    primary="reward",
    guardrails=(
        Guardrail(metric="is_share"),
        Guardrail(metric="is_comment"),
        Guardrail(metric="reward", test="mean", margin=0.02),
        Guardrail(metric="failed", harm="rises"),
    ),
    days=14,
    planned_error=0.01,
)


@dataclass
class Ended:
    """A run.

    Attributes:
        done: changes with their hours since the start.
        hours: until it was stopped; infinite where it was not.
        treated: requests of the treated arm until then.
        why: it was stopped.
    """

    done: list[tuple[str, float]]
    hours: float
    treated: int
    why: str


def canary(faults: Faults, what: str, seed: int, hours: int = HOURS) -> Ended:
    """Bring a fault, or none, to traffic and watch it."""
    run = faults.drawn(what, REQUESTS_AN_HOUR * hours * 11 // 10, seed)
    users, place = run.users, [0]
    clock = Clock(START_MS)
    service = ExperimentService(clock)
    service.create(terms=TERMS, ramp=RAMP, ramps=RAMPS)

    def did(user: str, arm: str, chance: object) -> list[tuple[str, dict[str, float]]]:
        del user, chance
        place[0] += 1
        return run.did(order[place[0] - 1], arm)

    order = np.random.default_rng([seed, 9]).permutation(len(users)).tolist()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        catalogue = faults.bundle.manifest.events
        assert isinstance(catalogue, EventCatalogue)
        traffic = Traffic(path / "events", service, did, catalogue, seed=seed, seconds=run.seconds)
        controller = Controller(
            service,
            Joined(path / "events", path / "joined"),
            Measures(faults.bundle.schema),
            path,
            now_ms=clock,
        )
        controller.look()
        service.start()
        step = HOUR_MS // LOOKS_AN_HOUR
        for _ in range(hours * LOOKS_AN_HOUR):
            some = order[place[0] : place[0] + REQUESTS_AN_HOUR // LOOKS_AN_HOUR]
            traffic.serve([users[one] for one in some], clock.now_ms, clock.now_ms + step)
            clock.now_ms += step
            problems = controller.look().problems
            assert not problems, problems
            if service.one().state != "running":
                break
    done = [(what, (when - START_MS) / HOUR_MS) for when, _, what, _ in service.history]
    outcome = service.one().outcome
    worse = outcome is not None and outcome.verdict == "worse"
    treated = traffic.by_arm.get("fusion/test:treated", 0)
    return Ended(done, done[-1][1] if worse else math.inf, treated, outcome.why if outcome else "")


def planted(faults: Faults, what: str, runs: int) -> Iterator[Row]:
    """A bad revision or bundle is stopped."""
    for name, of in faults.replayed(what).items():
        yield Row(f"bad {what}: {name}, to the control's", of, math.nan, math.nan)
    ended = [canary(faults, what, seed) for seed in range(runs)]
    stopped = [one for one in ended if one.hours < math.inf]
    kept = len(stopped) == runs
    yield share(
        f"bad {what}: stopped in {HOURS} hours of {REQUESTS_AN_HOUR:,} requests",
        len(stopped),
        runs,
        "all",
        kept,
    )
    for metric in ("is_share", "is_comment", "reward"):
        count = sum(f"guardrail {metric}" in one.why for one in stopped)
        yield share(f"bad {what}: by the guardrail {metric}", count, runs)
    if len(stopped) > 1:
        yield mean(f"bad {what}: hours until then", [one.hours for one in stopped])
        yield mean(f"bad {what}: its answers until then", [float(one.treated) for one in stopped])
        most = max(one.treated for one in stopped)
        yield Row(f"bad {what}: its answers until then, at most", most, math.nan, math.nan)


def alike(faults: Faults, runs: int) -> Iterator[Row]:
    """Arms that are alike ramp to the end."""
    ended = [canary(faults, "none", seed, ALIKE_HOURS) for seed in range(runs)]
    ramps = sum([what for what, _ in one.done] == ["start", "ramp", "ramp"] for one in ended)
    yield share(
        f"alike: ramped to the end, no alarm in {ALIKE_HOURS} hours",
        ramps,
        runs,
        "all but 5 %",
        ramps >= 0.95 * runs,
    )
    yield mean("alike: hours until all traffic", [one.done[-1][1] for one in ended])


def kills(runs: int) -> Iterator[Row]:
    """A controller that is killed: at each moment once, and at up to five random ones."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        whole = prepared(path / "made")
        killed(whole, path / "alive", alive := Killer(set()))
        yield Row("moments of a run", alive.moments, math.nan, math.nan)
        every = [Killer({moment}) for moment in range(1, alive.moments + 1)]
        for what, killers in (
            ("killed once at every moment", every),
            (
                "killed up to five times at random",
                [random_killer(seed, alive.moments) for seed in range(runs)],
            ),
        ):
            sound, posted_all, total = 0, 0, 0
            for number, killer in enumerate(killers):
                done, posted, times = killed(whole, path / f"{what}{number}", killer)
                sound += done == PLANNED
                posted_all += {c for one in posted for c in one["changes"]} == {
                    "running",
                    "ramped",
                    "stopped",
                }
                total += times
            of = len(killers)
            yield Row(f"{what}: kills", total, math.nan, math.nan)
            yield share(
                f"{what}: each ramp and the rollback once, in their time", sound, of, "all", sound == of
            )
            yield share(f"{what}: all was posted", posted_all, of, "all", posted_all == of)


def size(impressions: int = 1_000_000) -> Iterator[Row]:
    """What a look takes, of a joined log of a day with CUPED over the one before."""
    terms = TERMS.model_copy(update={"before_days": 1.0, "metrics": {"reward": "is_click + 15 * is_share"}})
    with tempfile.TemporaryDirectory() as folder:
        path, now_ms = Path(folder), START_MS + 26 * HOUR_MS
        experiment = _day(path, impressions, terms)
        log = ExperimentLog(path, Measures())
        for what in ("first", "next, one hour changed", "next, nothing changed"):
            if "hour" in what:
                file = sorted(path.glob("impressions/*/*.parquet"))[-1]
                pl.read_parquet(file, hive_partitioning=False).write_parquet(file)
            began = time.perf_counter()
            seen = log.seen(experiment, "user", now_ms)
            found = looked(experiment, seen, {}, now_ms)
            took = time.perf_counter() - began
            bound = 10.0 if what == "first" else 3.0
            yield Row(
                f"seconds: {impressions:,} impressions, twice; {sum(found.look.units):,} users: {what}",
                took, math.nan, math.nan, f"at most {bound:g}", took <= bound,
            )  # fmt: skip


def _day(path: Path, impressions: int, terms: Terms) -> Experiment:
    """Two days of a joined log, the experiment's and the one before, by hour."""
    service = ExperimentService(Clock(START_MS))
    service.create(terms=terms)
    service.start()
    rng, an_hour, shown = np.random.default_rng(1), impressions // 24, 10
    requests = an_hour // shown
    (path / "catalogue.json").write_text(
        '{"tasks": [], "events": {"kinds": [{"kind": "is_click", "window_s": 3600}, {"kind": "is_share"}]}}'
    )
    for hour in range(-24, 24):
        user = rng.integers(0, impressions // 30, requests)
        ms = START_MS + hour * HOUR_MS + rng.integers(0, HOUR_MS, requests)
        number = pl.Series(np.repeat(np.arange(requests), shown))
        label = [[f"fusion/test:{'treated' if one % 2 else 'control'}"] for one in user.tolist()]
        per = pl.DataFrame(
            {
                "exposure_id": [f"{hour}-{one}" for one in range(requests)],
                "user_id": [f"u{one}" for one in user.tolist()],
                "scene": "feed",
                "time_ms": ms,
                "arms": label if hour >= 0 else [[]] * requests,
            },
            schema_overrides={"arms": pl.List(pl.String)},
        )
        rows = per[number].with_columns(
            pl.Series("position", np.tile(np.arange(1, shown + 1), requests), pl.Int32),
            video_len_s=10.0,
            is_click=pl.Series(rng.random(requests * shown) < 0.3).cast(pl.Int8),
            is_share=pl.Series(rng.random(requests * shown) < 0.01).cast(pl.Int8),
            is_comment=pl.Series(rng.random(requests * shown) < 0.01).cast(pl.Int8),
        )
        day, name = ("2025-12-31", hour + 24) if hour < 0 else ("2026-01-01", hour)
        file = path / "impressions" / f"day={day}" / f"{name:02d}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        rows.write_parquet(file, compression_level=1)
    for hour in range(24):
        events = an_hour // 3
        file = path / "feedback" / f"2026-01-01T{hour:02d}" / "1-2-3.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        ms = START_MS + hour * HOUR_MS + rng.integers(0, HOUR_MS, events) + 2 * HOUR_MS
        pl.DataFrame({"time_ms": ms, "received_ms": ms + 1_000}).write_parquet(file)
    return service.one()


SUITES = ("revision", "bundle", "alike", "kills", "size")


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"of {', '.join(SUITES)}")] = None,
    runs: Annotated[int, typer.Option(min=2, help="of each planted fault and of arms alike")] = 20,
    kill_runs: Annotated[int, typer.Option(min=1, help="of a controller that is killed at random")] = 200,
    bundle: Annotated[Path, typer.Option(help="of the demo")] = BUNDLE,
    json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure, and print what was found."""
    wanted, rows = only or SUITES, list[Row]()
    if {"revision", "bundle", "alike"} & set(wanted):
        faults = Faults(bundle)
        for what in ("revision", "bundle"):
            rows += list(planted(faults, what, runs)) if what in wanted else []
        rows += list(alike(faults, runs)) if "alike" in wanted else []
    rows += list(kills(kill_runs)) if "kills" in wanted else []
    rows += list(size()) if "size" in wanted else []
    if json:
        print(jsons.dumps([asdict(row) for row in rows], indent=1))
        return
    table = Table("what", "found", "95 % interval", "bound", "kept")
    for row in rows:
        ends = "" if math.isnan(row.low) else f"{row.low:.4g} to {row.high:.4g}"
        kept = "" if row.kept is None else "yes" if row.kept else "no"
        table.add_row(row.what, f"{row.found:.4g}", ends, row.bound, kept)
    Console(width=150).print(table)


if __name__ == "__main__":
    typer.run(main)
