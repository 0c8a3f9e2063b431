"""What people see of a report in the terminal: each run as it ends, and a row per network. Trains nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.progress import TaskID
from rich.table import Table

from training.commands.rendering import Rendered
from training.progress import Advanced, Event
from training.report.findings.findings import DASH, seesaw, signed
from training.report.report import LeftOut
from training.report.workers import RunAdvanced, RunEnded

_STYLES = {"better": "green", "worse": "red", "undecided": "default"}


class ReportProgress(Rendered):
    """An observer that prints runs, with a bar for each that is under way."""

    def __init__(self) -> None:
        super().__init__()
        self._under_way: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:  # noqa: D102 (Rendered says it)
        match event:
            case LeftOut(network, reason):
                self.print(f"  [yellow]left out:[/] {network}: {escape(reason)}")
            case Advanced("runs", done, total):
                self.bar("runs", done, total, "", f"runs {done}/{total}")
            case RunAdvanced(name, share):
                if name not in self._under_way:
                    self._under_way[name] = self._bars.add_task(f"  {name}", total=1.0, unit="")
                self._bars.update(self._under_way[name], completed=share)
            case RunEnded(name, record):
                if (bar := self._under_way.pop(name, None)) is not None:
                    self._bars.remove_task(bar)
                self.print(f"  {name}  {_outcome(record)}")
            case _:
                super().__call__(event)


def _outcome(record: Mapping[str, Any] | None) -> str:
    if record is None:
        return "[red]its process died[/] (out of memory?); run the report again to repeat it"
    if record["status"] != "finished":
        return f"[red]{record['status']}:[/] {escape(record['reason'])}"
    metrics = "  ".join(
        f"{escape(task)} {key} {found[key]:.4f}"
        for task, found in record["metrics"].items()
        for key in ("auc", "mse")
        if found.get(key) is not None
    )
    return f"{metrics}  ({record['training_seconds']:.0f} s)"


def report_table(report: Mapping[str, Any]) -> Table:
    """Gains over single-task models, with verdicts where intervals decide."""
    tasks = [task["name"] for task in report["tasks"]]
    kinds = {task["name"]: "AUC" if task["metric"] == "auc" else "MSE" for task in report["tasks"]}
    table = Table(title="Gain over single-task models, more is better", title_justify="left")
    table.add_column("network")
    for task in tasks:
        table.add_column(f"{task} ({kinds[task]})", justify="right")
    table.add_column("together")
    table.add_column("runs", justify="right")
    for name, of in report["networks"].items():
        finished = sum(run["status"] == "finished" for run in of["runs"])
        runs = f"{finished}/{len(of['runs'])}"
        if of["gains"] is None:
            means = (of["metrics"][task]["mean"] for task in tasks)
            table.add_row(
                name, *(DASH if mean is None else f"{mean:.4f}" for mean in means), "the reference", runs
            )
            continue
        cells = [_cell(of["gains"][task]) for task in tasks]
        together = seesaw(of["gains"]) if all(gain["seeds"] for gain in of["gains"].values()) else "no run"
        table.add_row(name, *cells, together, runs)
    return table


def _cell(gain: Mapping[str, Any]) -> str:
    if not gain["seeds"]:
        return DASH
    style = _STYLES[gain["verdict"]]
    low, high = gain["interval"]
    return f"[{style}]{signed(gain['gain'])} \\[{signed(low)}, {signed(high)}][/]"
