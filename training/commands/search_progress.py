"""What people see of a search: each trial as it ends, and all of them, the best first. Makes no trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from rich.markup import escape
from rich.table import Table

from training.commands.rendering import Rendered
from training.progress import Event
from training.search.search import SearchSpace, Trial, TrialEnded


class SearchProgress(Rendered):
    """An observer that prints trials.

    Args:
        trials: how many the folder is to hold in the end.
    """

    def __init__(self, trials: int) -> None:
        super().__init__()
        self._trials = trials

    def __call__(self, event: Event) -> None:  # noqa: D102 (Rendered says it)
        match event:
            case TrialEnded(trial, best):
                found = "  ".join(f"{escape(name)} {value:.5f}" for name, value in trial.metrics.items())
                star = "  [green]best[/]" if trial.number == best.number else ""
                self.print(f"trial {trial.number}  {found}  ({trial.seconds:.0f} s){star}")
                done = trial.number + 1
                self.bar("trials", done, self._trials, "", f"trials {done}/{self._trials}")
            case _:
                super().__call__(event)


def search_table(trials: Sequence[Trial], space: SearchSpace) -> Table:
    """One row a trial: its number, the metrics (with their spread over seeds) and its values."""
    table = Table("trial", "objective", *space.objective, "values")
    for trial in trials:
        metrics = [_measured(trial, name, len(space.seeds)) for name in space.objective]
        values = (f"{key.partition('.')[2]} {_short(trial.parameters[key])}" for key in space.parameters)
        table.add_row(str(trial.number), f"{trial.value:.5f}", *metrics, ", ".join(values))
    return table


def _measured(trial: Trial, name: str, seeds: int) -> str:
    spread = f" ± {trial.spread[name]:.5f}" if seeds > 1 else ""
    return f"{trial.metrics[name]:.5f}{spread}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else orjson.dumps(value).decode()
