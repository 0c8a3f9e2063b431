"""What people see of a search: how far it is, and its trials, the best first. Makes no trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from training.search.search import SearchSpace, Trial

__all__ = ["search_progress", "search_table"]


def search_progress(console: Console) -> Progress:
    """A bar of trials, gone in the end."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


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
