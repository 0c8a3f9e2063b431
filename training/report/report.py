"""The report, station by station: plan, budgets, rows, runs, analysis, page.

The order of things; each station is a module of its own.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson
import torch
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from model.encoding import Encoder
from model.errors import FulcrumError, first_problem
from model.network.config import TrunkConfig
from model.network.embedding import SideSpec
from model.network.heads import TaskHead
from model.network.network import build_network
from training.fitting.network import side_spec, task_heads
from training.metrics.task_metrics import finite
from training.report.budget import CLOSE, Budget, Match, matched, measure
from training.report.findings.analysis import Facts, analyse
from training.report.folder import ReportFolder
from training.report.page.page import write_page
from training.report.plan import SINGLE, Plan, make_plan, of_tasks
from training.report.rows import save_rows
from training.report.run import Job, Part
from training.report.workers import carry_out_all
from training.rows.batches import EncodedLog
from training.rows.material import material_in_memory
from training.runs.environment import environment
from training.threads import usable_cores

__all__ = ["make_report"]


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
    recipe: str,
    data: Path | None,
    out: Path,
    console: Console,
    *,
    models: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    seeds: int = 5,
    match: Match = "flops",
    jobs: int | None = None,
    minutes: float = 10.0,
    compare: Sequence[tuple[str, str]] = (),
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Train what is missing and write `report.json` and `report.html`.

    Args:
        recipe: packaged name or file.
        data: `--data`; None where the recipe needs none.
        out: folder of the report.
        console: where progress goes.
        models: networks by name; all where None. Single-task models are always part of it.
        tasks: some of the recipe's tasks; all where None.
        seeds: how many each network is trained with.
        match: what networks are made to have as much of.
        jobs: processes; the usable cores where None.
        minutes: a run may take.
        compare: further pairs, the first network against the second.
        overrides: `--set`.

    Returns:
        What `report.json` holds.

    Raises:
        FulcrumError: bad input, or a folder of something else.
    """
    plan = make_plan(recipe, models=models, tasks=tasks, seeds=seeds, overrides=overrides)
    for pair in compare:
        for name in pair:
            if name not in plan.networks:
                raise FulcrumError(
                    f"--compare {','.join(pair)}: {name!r} is not part of this report; "
                    f"there are {', '.join(plan.networks)}"
                )
    if jobs is not None and jobs < 1:
        raise FulcrumError(f"--jobs {jobs}: expected 1 or more")
    if not minutes > 0:
        raise FulcrumError(f"--minutes {minutes:g}: expected more than 0")
    folder = ReportFolder(out)
    said = {
        "recipe": _said(plan),
        "tasks": plan.tasks,
        "match": match,
        "overrides": [text for text in overrides if text.startswith("network.")],
    }
    folder.claim(said)
    try:
        console.print(
            f"Reading [bold]{plan.recipe.name}[/] {f'from {data}' if data else '(no files needed)'}"
        )
        material = material_in_memory(plan.recipe.data_schema, data)
        folder.release()
        folder.claim({**said, "data": material.fingerprint})
        train, validation = cast(EncodedLog, material.train), cast(EncodedLog, material.validation)
        shape = _shape(plan, material.encoder)
        console.print(
            f"Matching {len(plan.networks)} networks" if match != "none" else "Networks as they are"
        )
        networks = _match(plan, shape, match, asked=models or ())
        for name, reason in networks.left_out.items():
            console.print(f"  [yellow]left out:[/] {name}: {reason}", highlight=False)
        wanted = _jobs(plan, shape, networks, minutes, folder.runs)
        began = time.monotonic()
        missing = [job for job in wanted if folder.record(job) is None]
        if len(missing) < len(wanted):
            console.print(f"  {len(wanted) - len(missing)} of {len(wanted)} runs are there already")
        if missing:
            save_rows(folder.rows, train, validation)
            try:
                _carry_out(missing, folder, jobs or usable_cores(), console)
            finally:
                shutil.rmtree(folder.rows, ignore_errors=True)
        console.print("Comparing")
        records = {job.name: record for job in wanted if (record := folder.record(job)) is not None}
        facts = Facts(
            heads=shape.heads,
            labels=validation.labels,
            masks=validation.masks,
            users=validation.user_number,
            seeds=plan.seeds,
            networks=tuple(networks.configs),
            own=plan.own if plan.own in networks.configs else None,
            compare=tuple(compare),
        )
        found = {
            "recipe": plan.recipe.name,
            "description": _description(plan, match, networks),
            "data": {
                "fingerprint": material.fingerprint,
                "train_rows": len(train),
                "validation_rows": len(validation),
            },
            "left_out": networks.left_out,
            **analyse(facts, records, folder.predictions, _costs(networks, match)),
            "environment": environment(),
            "seconds": round(time.monotonic() - began, 1),
        }
        text = orjson.dumps(finite(found), option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY)
        (out / "report.json").write_bytes(text)
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


def _description(plan: Plan, match: Match, networks: _Networks) -> dict[str, Any]:
    return {
        "own": plan.own,
        "reference": SINGLE,
        "match": match,
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


def _match(plan: Plan, shape: _Shape, match: Match, asked: Sequence[str]) -> _Networks:
    target = measure(plan.recipe.network, shape.fields, shape.heads, apart=plan.own == SINGLE)
    configs, budgets, left_out = dict[str, TrunkConfig](), dict[str, Budget](), dict[str, str]()
    for name, config in plan.networks.items():
        try:
            configs[name], budgets[name] = matched(
                config, shape.fields, shape.heads, apart=name == SINGLE, match=match, target=target
            )
        except ValueError as error:
            if name in (*asked, SINGLE, plan.own):
                raise FulcrumError(f"network {name}: {_in_a_line(error)}") from error
            left_out[name] = _in_a_line(error)
    return _Networks(configs, budgets, target, left_out)


def _in_a_line(error: ValueError) -> str:
    return first_problem(error) if isinstance(error, ValidationError) else str(error)


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


def _carry_out(jobs: Sequence[Job], folder: ReportFolder, processes: int, console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        whole = progress.add_task("runs", total=len(jobs))
        bars: dict[str, TaskID] = {}

        def on_progress(job: Job, share: float) -> None:
            if job.name not in bars:
                bars[job.name] = progress.add_task(f"  {job.name}", total=100)
            progress.update(bars[job.name], completed=round(100 * share))

        def on_end(job: Job, record: dict[str, Any] | None) -> None:
            if (bar := bars.pop(job.name, None)) is not None:
                progress.remove_task(bar)
            progress.advance(whole)
            console.print(f"  {_told(job, record)}", highlight=False)

        carry_out_all(jobs, folder.rows, processes, on_progress=on_progress, on_end=on_end)


def _told(job: Job, record: Mapping[str, Any] | None) -> str:
    if record is None:
        return f"{job.name}  [red]its process died[/] (out of memory?); run the report again to repeat it"
    if record["status"] != "finished":
        return f"{job.name}  [red]{record['status']}:[/] {record['reason']}"
    metrics = "  ".join(
        f"{task} {key} {found[key]:.4f}"
        for task, found in record["metrics"].items()
        for key in ("auc", "mse")
        if found.get(key) is not None
    )
    return f"{job.name}  {metrics}  ({record['training_seconds']:.0f} s)"


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
