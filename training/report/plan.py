"""Plan: which networks are trained, on which tasks, over which seeds.

A report compares the networks of `Trunk.known` under one recipe. All share its features, its splits and its
training; what differs is the trunk. The rules that make one recipe into many networks stand here; budgets are
matched elsewhere. Reads no data and trains nothing.

The rules:

- A network takes the recipe's settings wherever its config has them, its defaults else. One without streams
  of its own has as many experts as the recipe's network has in all, with the widths of its shared ones.
- `single-task` is one network for each task, trained alone: nothing is shared, embeddings neither. It is what
  every gain is measured from, so it is always part of a report.
- Networks of levels (`ple`, `ml-mmoe`) have two or more, since with one they are others (`cgc`, `mmoe`). So
  a recipe of `model: ple, levels: 1` is `cgc` here; the override `network.levels=1` asks for the other.
- Training on some of the tasks changes neither rows nor labels: a task that is left out is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from model.errors import FulcrumError
from model.network.config import TrunkConfig
from model.network.trunk import Trunk
from model.network.trunks import network_config
from training.recipe import (
    DecayedLossWeights,
    FixedLossWeights,
    Monitor,
    Recipe,
    TrainingConfig,
    apply_override,
    load_recipe,
)
from training.report.budget import Match

SINGLE = "single-task"
"""The reference of every gain: one network for each task, trained alone."""

_LEAST_LEVELS = 2


@dataclass(frozen=True)
class ReportSpec:
    """What a report compares.

    Attributes:
        recipe: packaged name or file.
        models: names of networks; all where None. `single-task` is always part of it.
        tasks: names of the recipe's tasks; all where None.
        seeds: how many each network is trained with, the recipe's own and those after it.
        match: what networks are made to have as much of.
        compare: further pairs, the first network against the second.
        overrides: `KEY=VALUE`; those of `network.` go to the networks whose config has the key.
    """

    recipe: str
    models: Sequence[str] | None = None
    tasks: Sequence[str] | None = None
    seeds: int = 5
    match: Match = "flops"
    compare: Sequence[tuple[str, str]] = ()
    overrides: Sequence[str] = ()


@dataclass(frozen=True)
class Plan:
    """What a report trains.

    Attributes:
        spec: what it was made of.
        given: the recipe as it is given, with the overrides that are not for networks.
        recipe: the recipe, of the chosen tasks; its network is the reference of the budgets.
        own: the recipe's network as the report names it.
        networks: configs by name, before budgets are matched: `single-task` first, then as asked for.
        seeds: each network is trained once with each.
    """

    spec: ReportSpec
    given: Recipe
    recipe: Recipe
    own: str
    networks: dict[str, TrunkConfig]
    seeds: tuple[int, ...]

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks."""
        return self.recipe.data_schema.task_names


def make_plan(spec: ReportSpec) -> Plan:
    """Make one recipe into many networks.

    Raises:
        FulcrumError: an unknown name, an override that nothing takes, or a recipe that does not fit.
    """
    if spec.seeds < 1:
        raise FulcrumError(f"seeds: expected 1 or more, found {spec.seeds}; 5 let chance be told from a gain")
    known = sorted(Trunk.known)
    for name in spec.models or ():
        if name not in known:
            raise FulcrumError(f"unknown network {name!r}; there are {', '.join(known)}")
    of_network = [text for text in spec.overrides if text.startswith("network.")]
    given = load_recipe(spec.recipe, [text for text in spec.overrides if text not in of_network])
    if given.training.stream is not None:
        raise FulcrumError("report: networks are trained in memory; leave training.stream out")
    loaded = of_tasks(given, _chosen(given, spec.tasks))
    own, settings = _own(loaded, of_network)
    wanted = list(dict.fromkeys([SINGLE, *(spec.models or [own, *known])]))
    settings = {name: settings.get(name) or _borrowed(loaded, name) for name in {own, *wanted}}
    settings = _overridden(loaded, settings, of_network)
    networks = {name: _config(loaded, settings[name], name) for name in settings}
    for pair in spec.compare:
        for name in pair:
            if name not in wanted:
                known_here = ", ".join(wanted)
                raise FulcrumError(
                    f"{' against '.join(pair)}: {name!r} is not part of this report; there are {known_here}"
                )
    first = loaded.training.seed
    return Plan(
        spec,
        given,
        loaded.model_copy(update={"network": networks[own]}),
        own,
        {name: networks[name] for name in wanted},
        tuple(range(first, first + spec.seeds)),
    )


def of_tasks(recipe: Recipe, names: Sequence[str]) -> Recipe:
    """The recipe with some of its tasks, in its own order.

    What speaks of the others goes with them: the monitor, where it watches another, becomes the joint loss.
    """
    schema = recipe.data_schema
    kept = tuple(task for task in schema.tasks if task.name in names)
    if len(kept) == len(schema.tasks):
        return recipe
    return recipe.model_copy(
        update={
            "data_schema": schema.model_copy(update={"tasks": kept}),
            "network": network_config(_without_tasks(recipe.network.model_dump(mode="json"), names)),
            "training": _training(recipe.training, names),
        }
    )


def _training(training: TrainingConfig, names: Sequence[str]) -> TrainingConfig:
    changes: dict[str, Any] = {
        "gate": {key: value for key, value in training.gate.items() if key.partition(".")[0] in names}
    }
    watched = training.monitor.metric
    if watched != "loss" and watched.partition(".")[0] not in names:
        changes["monitor"] = Monitor(metric="loss", mode="min")
    weights = training.loss_weights
    if isinstance(weights, DecayedLossWeights):
        ratio = {name: value for name, value in weights.ratio.items() if name in names}
        changes["loss_weights"] = weights.model_copy(update={"ratio": ratio}) if ratio else FixedLossWeights()
    return training.model_copy(update=changes)


def _without_tasks(network: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """A network's settings without what they give to other tasks by name."""
    changed = dict(network)
    for key in ("experts", "expert"):
        by_task = network[key].get("task") if isinstance(network.get(key), dict) else None
        if isinstance(by_task, dict):
            kept = {name: value for name, value in by_task.items() if name in names}
            changed[key] = {**network[key], "task": kept}
    return changed


def _chosen(recipe: Recipe, tasks: Sequence[str] | None) -> list[str]:
    known = recipe.data_schema.task_names
    for name in tasks or ():
        if name not in known:
            raise FulcrumError(f"unknown task {name!r}; the recipe has {', '.join(known)}")
    return [name for name in known if tasks is None or name in tasks]


def _own(recipe: Recipe, overrides: Sequence[str]) -> tuple[str, dict[str, dict[str, Any]]]:
    """What the recipe's own network is called, and its settings by that name."""
    settings = recipe.network.model_dump(mode="json")
    told = any(text.startswith("network.levels=") for text in overrides)
    if settings["model"] == "ple" and settings["levels"] == 1 and not told:
        del settings["levels"]
        settings["model"] = "cgc"
    return settings["model"], {settings["model"]: settings}


def _borrowed(recipe: Recipe, name: str) -> dict[str, Any]:
    """Another network's settings: what it can read of the recipe's."""
    own, fields = recipe.network.model_dump(mode="json"), Trunk.known[name].config.model_fields
    found: dict[str, Any] = {"model": name}
    for key, value in own.items():
        if key not in fields or key == "model":
            continue
        for some in (value, _flat(key, value, recipe.data_schema.task_names)):
            try:
                network_config({**found, key: some}).check_tasks(recipe.data_schema.task_names)
            except ValueError:
                continue
            found[key] = some
            break
    if "levels" in fields:
        found["levels"] = max(_LEAST_LEVELS, found.get("levels", _LEAST_LEVELS))
    return found


def _flat(key: str, value: Any, tasks: Sequence[str]) -> Any:
    """What is given by stream, for a network without streams: experts in all, widths of shared experts."""
    if not isinstance(value, dict):
        return value
    if key == "experts":
        of_task = value["task"]
        return value["shared"] + (
            sum(of_task.values()) if isinstance(of_task, dict) else of_task * len(tasks)
        )
    return value.get("shared")


def _overridden(
    recipe: Recipe, settings: Mapping[str, dict[str, Any]], overrides: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Each override where it fits."""
    changed = dict(settings)
    for text in overrides:
        key = text.partition("=")[0].split(".")[1]
        if key == "model":
            raise FulcrumError(f"{text}: a report has many networks; choose them by name")
        problem = f"no network of this report has {key!r}"
        taken = False
        for name, of_network in changed.items():
            if key not in Trunk.known[name].config.model_fields:
                continue
            document: dict[str, Any] = {"network": deepcopy(of_network)}
            try:
                apply_override(document, text)
                _config(recipe, document["network"], name)
            except FulcrumError as error:
                problem = str(error)
                continue
            changed[name], taken = document["network"], True
        if not taken:
            raise FulcrumError(f"{text}: {problem}")
    return changed


def _config(recipe: Recipe, settings: Mapping[str, Any], name: str) -> TrunkConfig:
    try:
        config = network_config(settings)
        config.check_tasks(recipe.data_schema.task_names)
    except ValueError as error:
        raise FulcrumError(f"network {name}: {error}") from error
    return config
