"""What people see of a training: its epochs, the gate's table and the summary. Trains nothing."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from model.terminal import progress
from training.commands.rendering import Rendered
from training.fitting.trainer import EpochDone, EpochReport, StepDone
from training.progress import Event
from training.runs.regression_gate import GateJudged, RegressionGate
from training.train import TrainedBundle


class TrainingProgress(Rendered):
    """An observer that prints a training."""

    def __call__(self, event: Event) -> None:  # noqa: D102 (Rendered says it)
        match event:
            case StepDone(epoch=epoch, epochs=epochs, loss=loss):
                done, total = (epoch - 1) * event.total_rows + event.rows, epochs * event.total_rows
                self.bar("training", done, total, "rows", f"epoch {epoch}/{epochs}  loss {loss:.4f}")
            case EpochDone(report):
                self.print(f"  {_line(report)}{' [green]best[/]' if report.best else ''}")
            case GateJudged(gate):
                progress.print(gate_table(gate))
            case _:
                super().__call__(event)


def _line(report: EpochReport) -> str:
    shown = "  ".join(
        f"{escape(name)} {key} {metrics[key]:.4f}"
        for name, metrics in report.validation.items()
        for key in ("auc", "mse")
        if key in metrics
    )
    return f"epoch {report.epoch}  loss {report.loss:.4f}  {shown}"


def gate_table(gate: RegressionGate) -> Table:
    """Both bundles, metric by metric."""
    table = Table("gate", "new", "old", "difference, paired [95 %]", "margin", "")
    for name, found in gate.found.items():
        low, high = found.interval
        table.add_row(
            name,
            f"{found.value:.4f}",
            f"{found.other:.4f}",
            f"{found.difference:+.4f} [{low:+.4f}, {high:+.4f}]",
            f"{gate.margins[name]:g}",
            found.verdict,
        )
    return table


def summary(trained: TrainedBundle) -> Table:
    """Validation metrics of the best epoch, task by task."""
    manifest = trained.manifest
    table = Table(title=f"{manifest.name}  {manifest.version[:19]}", title_justify="left")
    for heading in ("task", "rows", "AUC", "AUC within groups", "log loss", "MSE", "predicted/observed"):
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for name, metrics in trained.best.validation.items():
        table.add_row(
            name,
            f"{metrics['rows']:,}",
            *(f"{metrics[key]:.4f}" if key in metrics else "" for key in ("auc", "gauc", "logloss", "mse")),
            f"{metrics['calibration']:.3f}",
        )
    return table
