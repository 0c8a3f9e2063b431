"""What people see of a report in the terminal: a row a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from training.report.findings.findings import DASH, seesaw, signed

__all__ = ["report_table"]

_STYLES = {"better": "green", "worse": "red", "undecided": "default"}


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
