"""Training a bundle, station by station: read, prepare, fit the encoder, train, export.

The order of things; each station is a module of its own, and gets its part of the recipe.
"""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from model.bundle import Bundle, Manifest, load_bundle
from model.encoding import Encoder
from model.errors import FulcrumError
from model.network.network import RankingNetwork
from training.export.export import check_replaceable, write_bundle
from training.fitting.device import device_name, training_device
from training.fitting.network import fresh_network
from training.fitting.trainer import Checkpoint, CheckpointDue, EpochDone, EpochReport, FitPlan, fit
from training.metrics.task_metrics import finite
from training.progress import Event, Note, Observer, Stage, Warned, silent, together
from training.recipe import Recipe
from training.rows.batches import JudgedRows
from training.rows.material import AS_FITTED, Material, material_in_memory, streamed_material
from training.rows.streaming import RowStore
from training.runs.curves import Curves, check_installed
from training.runs.regression_gate import RegressionGate, check_comparable, pass_gate
from training.runs.run_folder import RunFolder, check_startable
from training.runs.warm_start import WarmStart, open_bundle


@dataclass(frozen=True)
class TrainingPlan:
    """What to train, from what, and where to.

    Attributes:
        recipe: what to train.
        out: the bundle to write.
        data: folder of the data, None where the recipe needs none.
        run: the run folder; one below `runs/` where None.
        resume: go on with the run in the run folder, where there is one, to the end that it would have had.
        start: a bundle whose weights the training starts from.
        gate: a bundle that the new one must not be significantly worse than; `start` where None.
        force: write the bundle whatever the gate finds.
    """

    recipe: Recipe
    out: Path
    data: Path | None = None
    run: Path | None = None
    resume: bool = False
    start: Path | None = None
    gate: Path | None = None
    force: bool = False


@dataclass(frozen=True)
class TrainedBundle:
    """What a training gave; `gate` is None where there was nothing to compare with."""

    manifest: Manifest
    run: Path
    best: EpochReport
    gate: RegressionGate | None


def train_bundle(plan: TrainingPlan, observer: Observer = silent) -> TrainedBundle:
    """Train a recipe and write its bundle.

    Args:
        plan: what to train.
        observer: called with the stations as `Stage`, and with the events of each.

    Raises:
        FulcrumError: no such device, bad data, a recipe that does not fit it, a run that cannot be resumed, a
            bundle that cannot be started from, or one that fails the gate or its parity check.
    """
    recipe = plan.recipe
    run = _checked_run(plan)
    warm = open_bundle(plan.start, recipe.data_schema, recipe.network) if plan.start is not None else None
    started_from = warm.bundle if warm is not None else None
    version = started_from.version if started_from is not None else None
    check_startable(run, recipe, resume=plan.resume, started_from=version)
    rival = load_bundle(plan.gate) if plan.gate is not None else started_from
    if rival is not None:
        check_comparable(recipe.data_schema, rival)
    material = _material(plan, run, warm, observer)
    _check_validation(recipe, material.validation, observer)
    network = _network(recipe, material.encoder, warm, observer)
    with RunFolder(run, recipe, material.fingerprint, resume=plan.resume, started_from=version) as record:
        fitted = _fit(network, _fit_plan(recipe, material, warm), record, observer)
    gate = _gate(plan, run, network, material, rival, observer) if rival is not None else None
    manifest = _export(plan, network, material, fitted, gate, observer)
    material.clear()
    return TrainedBundle(manifest, run, fitted.best, gate)


def _checked_run(plan: TrainingPlan) -> Path:
    """The run folder, after all that can be refused by the plan alone."""
    if plan.resume and plan.run is None:
        raise FulcrumError("to resume a run, name its folder")
    check_replaceable(plan.out)
    run = plan.run or Path("runs") / f"{plan.recipe.name}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    training_device(plan.recipe.training)
    if plan.recipe.training.tensorboard:
        check_installed()
    return run


def _material(plan: TrainingPlan, run: Path, warm: WarmStart | None, observer: Observer) -> Material:
    """The data, in memory or streamed."""
    schema, training = plan.recipe.data_schema, plan.recipe.training
    observer(Stage(f"Reading {schema.name} {f'from {plan.data}' if plan.data else '(no files needed)'}"))
    growth = warm.growth if warm is not None else AS_FITTED
    if training.stream is None:
        return material_in_memory(schema, plan.data, growth, observer)
    store = RowStore(run / "rows", training.stream, training.seed)
    return streamed_material(schema, plan.data, store, growth, observer)


def _check_validation(recipe: Recipe, rows: JudgedRows, observer: Observer) -> None:
    """Warn of tasks that cannot be judged.

    Raises:
        FulcrumError: the monitored metric is of such a task.
    """
    monitor = recipe.training.monitor.metric
    monitored, _, metric = monitor.partition(".")
    for place, task in enumerate(recipe.data_schema.tasks):
        labels = rows.labels[rows.masks[:, place], place]
        one = bool(task.type == "binary" and labels.size and labels.min() == labels.max())
        if labels.size and not one:
            continue
        if one:
            found = f"every label in validation is {labels[0]:g}"
            needed = monitored == task.name and metric in {"auc", "gauc"}
        else:
            found = "no row in validation has a label"
            needed = monitored in (task.name, "loss")
        if needed:
            raise FulcrumError(
                f"tasks.{task.name}: {found}, and training.monitor.metric is {monitor}; change data.split, "
                "or monitor another task"
            )
        observer(Warned(f"tasks.{task.name}: {found}; what is learned of it cannot be judged"))


def _network(recipe: Recipe, encoder: Encoder, warm: WarmStart | None, observer: Observer) -> RankingNetwork:
    """The network before its first step, fresh or with the weights of a bundle."""
    network = fresh_network(recipe.network, recipe.training, encoder)
    if warm is not None:
        warm.put(network, encoder, recipe.network)
        observer(Stage(f"Starting from {warm.bundle.manifest.name} {warm.bundle.version[:19]}"))
        for line in warm.news(encoder):
            observer(Note(line))
    size, device = f"{_parameters(network):,} parameters", device_name(training_device(recipe.training))
    observer(Stage(f"Training {recipe.network.model} with {size} on {device}"))
    return network


def _parameters(network: RankingNetwork) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _fit_plan(recipe: Recipe, material: Material, warm: WarmStart | None) -> FitPlan:
    weights = [task.weight for task in recipe.data_schema.tasks]
    return FitPlan(recipe.training, weights, material.train, material.validation, warm=warm is not None)


@dataclass(frozen=True)
class _Fitted:
    """The best epoch, the seconds of all attempts, and the version of the bundle that it started from."""

    best: EpochReport
    seconds: float
    started_from: str | None


def _fit(network: RankingNetwork, plan: FitPlan, record: RunFolder, observer: Observer) -> _Fitted:
    """Train, or go on from the folder's last checkpoint."""
    began = time.monotonic()
    kept = record.last_checkpoint()
    resume, seconds_before = (kept["training"], kept["seconds"]) if kept else (None, 0.0)
    if record.resumed:
        epochs, best_weights = (resume["epochs"], resume["best_weights"]) if resume else ([], {})
        record.return_to([finite(epoch) for epoch in epochs], best_weights)
        _describe_resumption(record, resume, plan, observer)

    def seconds() -> float:
        return seconds_before + time.monotonic() - began

    def keep(event: Event) -> None:
        match event:
            case EpochDone(report, weights):
                record.record(finite(vars(report)))
                if weights:
                    record.keep(weights)
            case CheckpointDue(state):
                record.checkpoint({"training": state, "seconds": seconds()})

    with _curves(plan, record.path, resume) as curves:
        # Curves first: a checkpoint must not be ahead of them.
        trained = fit(network, plan, together(curves, keep, observer), resume=resume)
    if math.isnan(trained.best.loss) or math.isnan(trained.best.monitored):
        raise FulcrumError(
            f"training diverged or {plan.config.monitor.metric} cannot be computed on the validation split; "
            "lower training.learning_rate, or monitor another metric"
        )
    return _Fitted(trained.best, seconds(), record.started_from)


def _describe_resumption(
    record: RunFolder, resume: Checkpoint | None, plan: FitPlan, observer: Observer
) -> None:
    if resume is None:
        observer(Note(f"{record.path} has no checkpoint yet: from the beginning"))
    elif resume["finished"]:
        observer(Note(f"the run in {record.path} is finished: only its bundle is made again"))
        return
    else:
        done = f"{resume['rows']:,} of {len(plan.train):,} rows done"
        observer(Note(f"resumed in epoch {resume['epoch']} of {plan.config.epochs}, {done}"))
    for change in record.changes:
        observer(Note(f"note: {change}: the weights may differ in their last bits"))


def _curves(plan: FitPlan, run: Path, resume: Checkpoint | None) -> AbstractContextManager[Observer]:
    """The run's curves from where it goes on; nothing where none are asked for, or nothing is trained."""
    if not plan.config.tensorboard or (resume is not None and resume["finished"]):
        return nullcontext(silent)
    steps = math.ceil(len(plan.train) / plan.config.batch)
    if resume is None:
        return Curves(run, steps)
    done = (resume["epoch"] - 1) * steps + math.ceil(resume["rows"] / plan.config.batch)
    return Curves(run, steps, step=done, epochs=len(resume["epochs"]))


def _gate(
    plan: TrainingPlan,
    run: Path,
    network: RankingNetwork,
    material: Material,
    rival: Bundle,
    observer: Observer,
) -> RegressionGate:
    """Hold the network against a bundle.

    Raises:
        FulcrumError: it is significantly worse, and the plan does not force it.
    """
    observer(Stage(f"Comparing with {rival.path}"))
    gate = pass_gate(network, material, rival, plan.recipe.training.gate, observer)
    failures = gate.failures()
    if failures and not plan.force:
        raise FulcrumError(
            f"worse than {rival.path}: {'; '.join(failures)}. No bundle was written; the weights are in "
            f"{run}, and resuming that run by force writes it all the same"
        )
    for failure in failures:
        observer(Warned(f"worse than {rival.path}: {failure}; written all the same"))
    return gate


def _export(
    plan: TrainingPlan,
    network: RankingNetwork,
    material: Material,
    fitted: _Fitted,
    gate: RegressionGate | None,
    observer: Observer,
) -> Manifest:
    """Write the bundle, with where it comes from."""
    recipe, best = plan.recipe, fitted.best
    observer(Stage(f"Exporting epoch {best.epoch} to {plan.out}"))
    return write_bundle(
        plan.out,
        name=f"{recipe.name}-{recipe.network.model}",
        network=network,
        encoder=material.encoder,
        rows=material.sample,
        provenance={
            "network": {**recipe.network.model_dump(mode="json"), "parameters": _parameters(network)},
            "training": {
                **recipe.training.model_dump(mode="json"),
                "best_epoch": best.epoch,
                "seconds": round(fitted.seconds, 1),
                "started_from": fitted.started_from,
                "gate": {} if gate is None else finite(gate.report()),
            },
            "data": {
                "fingerprint": material.fingerprint,
                "train_rows": len(material.train),
                "validation_rows": len(material.validation),
                **material.past,
            },
            "metrics": finite(best.validation),
            "example": material.example,
            "events": recipe.events,
        },
    )
