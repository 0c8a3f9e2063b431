"""Training a bundle, station by station: read, prepare, fit the encoder, train, export.

The order of things and what people see of it; each station is a module of its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from model.bundle import Manifest, load_bundle
from model.encoding import Encoder
from model.errors import FulcrumError
from model.network.network import RankingNetwork
from training.export.export import check_replaceable, write_bundle
from training.fitting.device import device_name, training_device
from training.fitting.network import fresh_network
from training.fitting.optimizer import rate_share
from training.fitting.trainer import Checkpoint, EpochReport, fit
from training.metrics.task_metrics import finite
from training.recipe import Recipe
from training.rows.material import Material, material_in_memory, streamed_material
from training.runs.curves import Curves, check_installed
from training.runs.regression_gate import RegressionGate, pass_gate
from training.runs.run_folder import RunFolder, check_startable
from training.runs.warm_start import WarmStart, open_bundle

__all__ = ["TrainedBundle", "train_bundle"]


@dataclass(frozen=True)
class TrainedBundle:
    """What a training gave."""

    manifest: Manifest
    run: Path
    best: EpochReport


def train_bundle(
    recipe: Recipe,
    folder: Path | None,
    out: Path,
    run: Path | None,
    console: Console,
    *,
    resume: bool = False,
    start: Path | None = None,
    gate: Path | None = None,
    force: bool = False,
) -> TrainedBundle:
    """Train a recipe and write its bundle.

    Args:
        recipe: what to train.
        folder: the data (`--data`), None where the recipe needs none.
        out: the bundle to write.
        run: the run folder; one below `runs/` where None.
        console: where progress goes.
        resume: go on with the run in the run folder, where there is one, to the end that it would have had.
        start: a bundle whose weights the training starts from.
        gate: a bundle that the new one must not be surely worse than; `start` where None.
        force: write the bundle whatever the gate says.

    Raises:
        FulcrumError: no such device, bad data, a recipe that does not fit it, a run that cannot be resumed, a
            bundle that cannot be started from, or one that fails the gate or its parity check.
    """
    if resume and run is None:
        raise FulcrumError("--resume: name the folder of the run to go on with, --run DIR")
    check_replaceable(out)
    started = datetime.now(UTC)
    run = run or Path("runs") / f"{recipe.name}-{started:%Y%m%dT%H%M%S}"
    check_startable(run, recipe, resume=resume)
    device = training_device(recipe.training)
    if recipe.training.tensorboard:
        check_installed()
    warm = open_bundle(start, recipe) if start is not None else None
    rival = load_bundle(gate) if gate is not None else warm.bundle if warm is not None else None
    console.print(f"Reading [bold]{recipe.name}[/] {f'from {folder}' if folder else '(no files needed)'}")
    material = _material(recipe, folder, run, console, warm)
    encoder = material.encoder
    network = fresh_network(recipe, encoder)
    if warm is not None:
        warm.put(network, encoder, recipe.network)
        console.print(f"Starting from [bold]{warm.bundle.manifest.name}[/] {warm.bundle.version[:19]}")
        for line in warm.news(encoder):
            console.print(f"  {line}")
    parameters = sum(parameter.numel() for parameter in network.parameters())
    console.print(
        f"Training [bold]{recipe.network.model}[/] with {parameters:,} parameters on {device_name(device)}"
    )
    version = warm.bundle.version if warm is not None else None
    with RunFolder(run, recipe, material.fingerprint, resume=resume, started_from=version) as record:
        best, seconds = _fit(network, recipe, material, record, console, warm=warm is not None)
    judged = None
    if rival is not None:
        console.print(f"Comparing with {rival.path}")
        judged = pass_gate(network, material, recipe, rival, console)
        console.print(judged.table())
        _check_gate(judged, rival.path, run, console, force=force)
    console.print(f"Exporting epoch {best.epoch} to {out}")
    manifest = write_bundle(
        out,
        name=f"{recipe.name}-{recipe.network.model}",
        network=network,
        encoder=encoder,
        rows=material.sample,
        provenance={
            "network": {**recipe.network.model_dump(mode="json"), "parameters": parameters},
            "training": {
                **recipe.training.model_dump(mode="json"),
                "best_epoch": best.epoch,
                "seconds": round(seconds, 1),
                "started_from": version,
                "gate": {} if judged is None else finite(judged.report()),
            },
            "data": {
                "fingerprint": material.fingerprint,
                "train_rows": len(material.train),
                "validation_rows": len(material.validation),
            },
            "metrics": finite(best.validation),
            "example": material.example,
        },
    )
    material.clear()
    console.print(_summary(manifest, best))
    return TrainedBundle(manifest, run, best)


def _material(
    recipe: Recipe, folder: Path | None, run: Path, console: Console, warm: WarmStart | None
) -> Material:
    """The data, in memory or streamed."""
    grow = warm.grow if warm is not None else _as_fitted
    stream = recipe.training.stream
    if stream is None:
        return material_in_memory(recipe, folder, console, grow)
    version = warm.bundle.version if warm is not None else ""
    return streamed_material(recipe, stream, folder, run, console, grow, version)


def _as_fitted(fitted: Encoder) -> Encoder:
    return fitted


def _check_gate(gate: RegressionGate, rival: Path, run: Path, console: Console, *, force: bool) -> None:
    failures = gate.failures()
    if failures and not force:
        raise FulcrumError(
            f"worse than {rival}: {'; '.join(failures)}. No bundle was written; the weights are in {run}, "
            f"and --run {run} --resume --force writes it all the same"
        )
    for failure in failures:
        console.print(f"  [yellow]worse than {rival}:[/] {failure}; written all the same (--force)")


class _Rate(ProgressColumn):
    """Rows a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} rows/s" if task.speed else "", style="cyan")


def _fit(
    network: RankingNetwork,
    recipe: Recipe,
    material: Material,
    record: RunFolder,
    console: Console,
    *,
    warm: bool,
) -> tuple[EpochReport, float]:
    """Train, or go on from the folder's last checkpoint: the best epoch, and the seconds of all attempts."""
    config, train = recipe.training, material.train
    weights = [task.weight for task in recipe.data_schema.tasks]
    began = time.monotonic()
    kept = record.last_checkpoint()
    resume, seconds_before = (kept["training"], kept["seconds"]) if kept else (None, 0.0)
    if record.resumed:
        epochs, best_weights = (resume["epochs"], resume["best_weights"]) if resume else ([], {})
        record.return_to([finite(epoch) for epoch in epochs], best_weights)
    _say_where(record, resume, config.epochs, len(train), console)
    columns = (TextColumn("{task.description}"), BarColumn(), _Rate(), TimeRemainingColumn())
    steps = math.ceil(len(train) / config.batch)
    with (
        Progress(*columns, console=console, transient=True) as progress,
        _curves(recipe, record.path, steps, resume) as curves,
    ):
        done = (resume["epoch"] - 1) * len(train) + resume["rows"] if resume is not None else 0
        bar = progress.add_task("", total=config.epochs * len(train), completed=done)

        def on_step(epoch: int, rows: int, loss: float) -> None:
            done = (epoch - 1) * len(train) + rows
            label = f"epoch {epoch}/{config.epochs}  loss {loss:.4f}"
            progress.update(bar, completed=done, description=label)
            if curves is not None:
                step = (epoch - 1) * steps + math.ceil(rows / config.batch)
                rate = config.learning_rate * rate_share(config, step - 1, config.epochs * steps)
                curves.step(step, loss, rate, config.batch)

        def on_epoch(report: EpochReport, best_weights: Mapping[str, torch.Tensor]) -> None:
            record.record(finite(vars(report)))
            if curves is not None:
                curves.epoch(report)
            if best_weights:
                record.keep(best_weights)
            shown = "  ".join(
                f"{name} {key} {metrics[key]:.4f}"
                for name, metrics in report.validation.items()
                for key in ("auc", "mse")
                if key in metrics
            )
            star = " [green]best[/]" if report.best else ""
            console.print(f"  epoch {report.epoch}  loss {report.loss:.4f}  {shown}{star}")

        def seconds() -> float:
            return seconds_before + time.monotonic() - began

        def on_checkpoint(state: Checkpoint) -> None:
            if curves is not None:
                curves.flush()
            record.checkpoint({"training": state, "seconds": seconds()})

        trained = fit(
            network,
            config,
            weights,
            train,
            material.validation,
            on_step=on_step,
            on_epoch=on_epoch,
            on_checkpoint=on_checkpoint,
            resume=resume,
            warm=warm,
        )
    if math.isnan(trained.best.loss) or math.isnan(trained.best.monitored):
        raise FulcrumError(
            f"training diverged or {config.monitor.metric} cannot be computed on the validation split; "
            "lower training.learning_rate, or monitor another metric"
        )
    return trained.best, seconds()


def _curves(
    recipe: Recipe, run: Path, steps: int, resume: Checkpoint | None
) -> AbstractContextManager[Curves | None]:
    """The run's curves from where it goes on; None where none are asked for, or nothing is trained."""
    if not recipe.training.tensorboard or (resume is not None and resume["finished"]):
        return nullcontext(None)
    if resume is None:
        return Curves(run, steps)
    done = (resume["epoch"] - 1) * steps + math.ceil(resume["rows"] / recipe.training.batch)
    return Curves(run, steps, step=done, epochs=len(resume["epochs"]))


def _say_where(
    record: RunFolder, resume: Checkpoint | None, epochs: int, rows: int, console: Console
) -> None:
    if not record.resumed:
        return
    if resume is None:
        console.print(f"  {record.path} has no checkpoint yet: from the beginning")
    elif resume["finished"]:
        console.print(f"  the run in {record.path} is finished: only its bundle is made again")
        return
    else:
        console.print(
            f"  resumed in epoch {resume['epoch']} of {epochs}, {resume['rows']:,} of {rows:,} rows done"
        )
    for change in record.changes:
        console.print(f"  [yellow]note:[/] {change}: the weights may differ in their last bits")


def _summary(manifest: Manifest, best: EpochReport) -> Table:
    table = Table(title=f"{manifest.name}  {manifest.version[:19]}", title_justify="left")
    for heading in ("task", "rows", "AUC", "AUC within groups", "log loss", "MSE", "predicted/observed"):
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for name, metrics in best.validation.items():
        table.add_row(
            name,
            f"{metrics['rows']:,}",
            *(f"{metrics[key]:.4f}" if key in metrics else "" for key in ("auc", "gauc", "logloss", "mse")),
            f"{metrics['calibration']:.3f}",
        )
    return table
