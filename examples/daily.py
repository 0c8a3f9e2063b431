"""A week of days on KuaiRand: each day's bundle from the day before, against training all anew each day.

The first bundle learns 25 to 27 April 2022. From then on, every day, three bundles meet the next day's rows,
which none has seen: `daily` goes on from yesterday's daily bundle with the day's rows and a share of the
earlier ones, `anew` is trained from nothing on all rows so far, `first` stays as it was. Paired by row, users
resampled, by day and pooled. Run again, it goes on: bundles that are there are not made again.

    python examples/daily.py --data DIR [--out build/daily] [--replay 1.0] [--set training.epochs=1 ...]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.table import Table

from model.bundle import Bundle, load_bundle
from model.bundle.session import NetworkSession
from training.datasets import read_source
from training.evaluation.predicting import predict_log
from training.metrics.comparison import Difference, compare_task
from training.preparation.preparation import PreparedLog, prepare_log
from training.recipe import load_recipe
from training.rows.material import encode_log
from training.train import TrainingPlan, train_bundle

DAYS = (*range(20220425, 20220431), *range(20220501, 20220505))
FIRST = 2
"""Place of the last day that the first bundle learns."""

RECIPE = str(Path(__file__).with_name("daily.yaml"))
"""The packaged recipe before it knew the log's own past: priors end before the first day, for all alike."""
LAST_EPOCH = "training.keep=last"
"""The next day judges, so it must not choose the epoch."""
INCREMENT = ("training.epochs=1",)
"""What a day's training has otherwise than the recipe; docs/daily.md says why."""

Predictions = dict[str, npt.NDArray[np.float32]]
console = Console(width=None if sys.stdout.isatty() else 120)


@dataclass(frozen=True)
class Day:
    """The bundles that one day ended with, as they predict the next day's rows."""

    date: int
    rows: npt.NDArray[np.int64]
    predictions: dict[str, Predictions]


def main(
    data: Annotated[Path, typer.Option("--data", help="Folder of KuaiRand's files.")],
    out: Annotated[Path, typer.Option("--out", help="Where bundles are kept.")] = Path("build/daily"),
    replay: Annotated[
        float, typer.Option(help="Share of the earlier rows that a day is trained on, too.")
    ] = 1.0,
    until: Annotated[int, typer.Option(help="The last day that is trained on.")] = DAYS[-2],
    override: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="In place of a day's settings.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of the daily bundles, to keep several recipes apart.")] = "daily",
    seed: Annotated[int, typer.Option(help="Of the bundles that are trained anew.")] = 7,
) -> None:
    """Train, compare, and print the tables of docs/daily.md."""
    recipe = load_recipe(RECIPE)
    log = prepare_log(recipe.data_schema, read_source(recipe.data_schema, data), split=False)
    dates = log.frame["date"].to_numpy()
    sets = [LAST_EPOCH, *INCREMENT, *(override or ())]
    costs: dict[str, list[tuple[float, int]]] = {"daily": [], "anew": []}
    days: list[Day] = []
    first = make(out / "first", data, f"date <= {DAYS[FIRST]}", DAYS[FIRST + 1], [LAST_EPOCH])
    yesterday = first
    for date, following in zip(DAYS[FIRST + 1 : -1], DAYS[FIRST + 2 :], strict=True):
        if date > until:
            break
        of_seed = [LAST_EPOCH, f"training.seed={seed}"]
        anew = make(out / f"anew-{seed}-{date}", data, f"date <= {date}", following, of_seed)
        rule = f"date = {date}" + (
            f" or (date < {date} and time_ms % 1000 < {1000 * replay:g})" if replay else ""
        )
        yesterday = make(out / f"{name}-{date}", data, rule, following, sets, start=yesterday)
        for kind, bundle in (("daily", yesterday), ("anew", anew)):
            costs[kind].append((bundle.manifest.training["seconds"], bundle.manifest.data["train_rows"]))
        rows = np.flatnonzero(dates == following)
        bundles = {"daily": yesterday, "anew": anew, "first": first}
        days.append(
            Day(following, rows, {kind: predict(bundle, log, rows) for kind, bundle in bundles.items()})
        )
    for other in ("anew", "first"):
        console.print(table(log, days, other))
    cost = Table("a day, mean", "training, s", "rows a pass")
    for kind, spent in costs.items():
        seconds, rows_a_pass = np.mean(spent, axis=0)
        cost.add_row(kind, f"{seconds:.1f}", f"{rows_a_pass:,.0f}")
    console.print(cost)


def make(
    folder: Path, data: Path, train: str, judged: int, sets: Sequence[str], *, start: Bundle | None = None
) -> Bundle:
    """The bundle of a folder, trained where it is not there yet."""
    bundle = folder / "bundle"
    if not (bundle / "manifest.json").exists():
        split = f'data.split={{train: "{train}", validation: "date = {judged}"}}'
        plan = TrainingPlan(
            load_recipe(RECIPE, [*sets, split]),
            bundle,
            data,
            folder / "run",
            resume=True,
            start=start.path if start is not None else None,
            force=True,  # the tables are the gate
        )
        train_bundle(plan)
        console.print(f"{folder.name} is trained", style="dim")
    return load_bundle(bundle)


def predict(bundle: Bundle, log: PreparedLog, rows: npt.NDArray[np.int64]) -> Predictions:
    """As the service would."""
    marked = np.zeros(len(log), bool)
    marked[rows] = True
    encoded = encode_log(bundle.encoder, log).take(marked)
    return predict_log(NetworkSession(bundle.network_path), encoded)


def table(log: PreparedLog, days: Sequence[Day], other: str) -> Table:
    """The daily bundle less another, by day and over all days."""
    shown = Table("judged on", "rows", *(f"VTR AUC, daily less {other}", f"VCR MSE, daily less {other}"))
    for name, some in [*((str(day.date), [day]) for day in days), ("all", days)]:
        rows = np.concatenate([day.rows for day in some])
        found = [compare(log, some, rows, place, other) for place in (0, 1)]
        shown.add_row(name, f"{len(rows):,}", *map(told, found))
    return shown


def compare(
    log: PreparedLog, days: Sequence[Day], rows: npt.NDArray[np.int64], place: int, other: str
) -> Difference:
    """One task's metric of both, on the same rows."""
    task, metric = (("vtr", "auc"), ("vcr", "mse"))[place]
    ours, theirs = (
        np.concatenate([day.predictions[kind][task] for day in days]) for kind in ("daily", other)
    )
    inside = log.masks[rows, place]
    kind = "binary" if metric == "auc" else "regression"
    kept = rows[inside]
    of_rows = log.labels[kept, place], log.group[kept], log.user[kept]
    return compare_task(kind, ours[inside], theirs[inside], *of_rows)[metric]


def told(found: Difference) -> str:
    """Both values, and the difference with its interval."""
    low, high = found.interval
    return f"{found.value:.4f} {found.other:.4f}  {found.difference:+.4f} [{low:+.4f}, {high:+.4f}]"


if __name__ == "__main__":
    typer.run(main)
