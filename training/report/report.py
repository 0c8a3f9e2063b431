"""The report, station by station: plan, budgets, rows, runs, analysis, page.

The order of things; each station is a module of its own.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson
import torch

from model.cores import available_cores
from model.encoding import Encoder
from model.errors import FulcrumError
from model.files import replace_file
from model.network.config import TrunkConfig
from model.network.embedding import SideSpec
from model.network.heads import TaskHead
from model.network.network import build_network
from training.fitting.device import training_device
from training.fitting.network import side_spec, task_heads
from training.metrics.task_metrics import finite
from training.progress import Advanced, Event, Note, Observer, Stage, silent
from training.report.budget import CLOSE, Budget, Match, matched, measure
from training.report.departures import departures
from training.report.findings.analysis import Facts, analyse
from training.report.folder import ReportFolder
from training.report.page.page import write_page
from training.report.plan import SINGLE, Plan, ReportSpec, make_plan, of_tasks
from training.report.rows import save_rows
from training.report.run import Job, Part
from training.report.workers import RunEnded, carry_out_all
from training.rows.batches import EncodedLog
from training.rows.material import material_in_memory
from training.runs.environment import environment


@dataclass(frozen=True)
class LeftOut(Event):
    """A network does not fit the tasks."""

    network: str
    reason: str


@dataclass(frozen=True)
class _Shape:
    """What all networks of a report have in common."""

    heads: tuple[TaskHead, ...]
    user: SideSpec
    item: SideSpec
    fields: tuple[int, ...]


@dataclass(frozen=True)
class _Networks:
    """Networks with matched widths, what each costs, and those that do not fit the tasks."""

    configs: dict[str, TrunkConfig]
    budgets: dict[str, Budget]
    target: Budget
    left_out: dict[str, str]


def make_report(
    spec: ReportSpec,
    data: Path | None,
    out: Path,
    *,
    jobs: int | None = None,
    minutes: float = 10.0,
    observer: Observer = silent,
) -> dict[str, Any]:
    """Train what is missing and write `report.json` and `report.html`.

    Args:
        spec: what is compared.
        data: the log's files; None where the recipe needs none.
        out: folder of the report.
        jobs: processes; the usable cores where None.
        minutes: a run may take.
        observer: told of progress.

    Returns:
        What `report.json` holds.

    Raises:
        FulcrumError: bad input, or a folder of something else.
    """
    plan = make_plan(spec)
    training_device(plan.recipe.training)
    if jobs is not None and jobs < 1:
        raise FulcrumError(f"jobs: expected 1 or more processes, found {jobs}")
    if not minutes > 0:
        raise FulcrumError(f"minutes: expected more than 0 for a run, found {minutes:g}")
    folder = ReportFolder(out)
    said = {
        "recipe": _said(plan),
        "tasks": plan.tasks,
        "match": spec.match,
        "overrides": [text for text in spec.overrides if text.startswith("network.")],
    }
    folder.claim(said)
    try:
        observer(Stage(f"Reading {plan.recipe.name} {f'from {data}' if data else '(no files needed)'}"))
        material = material_in_memory(plan.recipe.data_schema, data, observer=observer)
        folder.release()
        folder.claim({**said, "data": material.fingerprint})
        train, validation = cast(EncodedLog, material.train), cast(EncodedLog, material.validation)
        shape = _shape(plan, material.encoder)
        matching = (
            "Networks as they are" if spec.match == "none" else f"Matching {len(plan.networks)} networks"
        )
        observer(Stage(matching))
        networks = _match(plan, shape)
        for name, reason in networks.left_out.items():
            observer(LeftOut(name, reason))
        departed = departures(plan, networks.configs)
        for sentence in departed:
            observer(Note(sentence))
        wanted = _jobs(plan, shape, networks, minutes, folder.runs)
        began = time.monotonic()
        missing = [job for job in wanted if folder.record(job) is None]
        if len(missing) < len(wanted):
            observer(Note(f"{len(wanted) - len(missing)} of {len(wanted)} runs are there already"))
        if missing:
            save_rows(folder.rows, train, validation)
            try:
                _carry_out(missing, folder, jobs or available_cores(), observer)
            finally:
                shutil.rmtree(folder.rows, ignore_errors=True)
        observer(Stage("Comparing"))
        records = {job.name: record for job in wanted if (record := folder.record(job)) is not None}
        facts = Facts(
            heads=shape.heads,
            labels=validation.labels,
            masks=validation.masks,
            users=validation.user_number,
            seeds=plan.seeds,
            networks=tuple(networks.configs),
            own=plan.own if plan.own in networks.configs else None,
            compare=tuple(spec.compare),
        )
        found = {
            "recipe": plan.recipe.name,
            "description": _description(plan, networks),
            "data": {
                "fingerprint": material.fingerprint,
                "train_rows": len(train),
                "validation_rows": len(validation),
            },
            "left_out": networks.left_out,
            "departures": departed,
            **analyse(facts, records, folder.predictions, _costs(networks, spec.match)),
            "environment": environment(),
            "seconds": round(time.monotonic() - began, 1),
        }
        text = orjson.dumps(finite(found), option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY)
        replace_file(out / "report.json", text)
        written: dict[str, Any] = orjson.loads(text)
        write_page(written, out / "report.html")
        return written
    finally:
        folder.release()


def _said(plan: Plan) -> dict[str, Any]:
    """The recipe as a folder is claimed for it: the first seed is not what the report is of."""
    said = plan.recipe.model_dump(mode="json")
    for key in ("seed", "threads", "tensorboard", "checkpoint_seconds", "gate"):
        said["training"].pop(key)
    return said


def _description(plan: Plan, networks: _Networks) -> dict[str, Any]:
    return {
        "own": plan.own,
        "reference": SINGLE,
        "match": plan.spec.match,
        "close": CLOSE,
        "target": vars(networks.target),
        "seeds": list(plan.seeds),
        "epochs": plan.recipe.training.epochs,
        "keep": plan.recipe.training.keep,
        "monitor": plan.recipe.training.monitor.model_dump(),
    }


def _shape(plan: Plan, encoder: Encoder) -> _Shape:
    user, item = side_spec(encoder, "user", "context"), side_spec(encoder, "item")
    heads = tuple(task_heads(encoder))
    with torch.device("meta"):
        network = build_network(plan.recipe.network, user=user, item=item, tasks=heads)
    return _Shape(heads, user, item, tuple(network.parts))


def _match(plan: Plan, shape: _Shape) -> _Networks:
    target = measure(plan.recipe.network, shape.fields, shape.heads, apart=plan.own == SINGLE)
    configs, budgets, left_out = dict[str, TrunkConfig](), dict[str, Budget](), dict[str, str]()
    for name, config in plan.networks.items():
        try:
            configs[name], budgets[name] = matched(
                config, shape.fields, shape.heads, apart=name == SINGLE, match=plan.spec.match, target=target
            )
        except ValueError as error:
            if name in (*(plan.spec.models or ()), SINGLE, plan.own):
                raise FulcrumError(f"network {name}: {error}") from error
            left_out[name] = str(error)
    return _Networks(configs, budgets, target, left_out)


def _jobs(plan: Plan, shape: _Shape, networks: _Networks, minutes: float, folder: Path) -> list[Job]:
    """Seed by seed, so that a report that is cut short has all networks."""
    places = {name: place for place, name in enumerate(plan.tasks)}
    weights = {task.name: task.weight for task in plan.recipe.data_schema.tasks}
    found = []
    for seed in plan.seeds:
        for name, config in networks.configs.items():
            groups = [[task] for task in plan.tasks] if name == SINGLE else [plan.tasks]
            parts = []
            for group in groups:
                training = of_tasks(plan.recipe, group).training
                training = training.model_copy(update={"seed": seed, "threads": 1})
                parts.append(
                    Part(
                        tuple(places[task] for task in group),
                        training,
                        tuple(weights[task] for task in group),
                    )
                )
            found.append(
                Job(
                    name,
                    seed,
                    config,
                    networks.budgets[name],
                    tuple(parts),
                    shape.heads,
                    shape.user,
                    shape.item,
                    minutes,
                    folder,
                )
            )
    return found


def _carry_out(jobs: Sequence[Job], folder: ReportFolder, processes: int, observer: Observer) -> None:
    ended = 0

    def count(event: Event) -> None:
        nonlocal ended
        observer(event)
        if isinstance(event, RunEnded):
            ended += 1
            observer(Advanced("runs", ended, len(jobs)))

    observer(Advanced("runs", 0, len(jobs)))
    carry_out_all(jobs, folder.rows, processes, count)


def _costs(networks: _Networks, match: Match) -> dict[str, dict[str, Any]]:
    """What each network costs beside the reference, and its settings."""
    found = {}
    for name, budget in networks.budgets.items():
        ratios = {
            "parameters_ratio": budget.parameters / networks.target.parameters,
            "flops_ratio": budget.flops / networks.target.flops,
        }
        found[name] = {
            "network": networks.configs[name].model_dump(mode="json"),
            "budget": {
                **vars(budget),
                **ratios,
                "matched": match == "none" or abs(ratios[f"{match}_ratio"] - 1) <= CLOSE,
            },
        }
    return found
