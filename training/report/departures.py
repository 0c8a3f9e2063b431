"""Departures: what a report does otherwise than its recipe says, in sentences.

A report makes one recipe into many networks (`plan.py`), and these into networks of one cost (`budget.py`).
What changes on the way is said in the printed answer and on the page. What an override or a choice of tasks
asked for is no departure. Trains nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from model.network.config import TrunkConfig
from training.report.plan import SINGLE, Plan, of_tasks

_SHALLOW = {"ple": "cgc", "ml-mmoe": "mmoe"}
"""What a network of levels is with one."""


def departures(plan: Plan, trained: Mapping[str, TrunkConfig]) -> list[str]:
    """What is not as the recipe says.

    Args:
        plan: the networks before budgets are matched.
        trained: those that are trained, by name, with matched widths.
    """
    return [*_of_networks(plan, trained), *_of_widths(plan, trained), *_of_training(plan)]


def _of_networks(plan: Plan, trained: Mapping[str, TrunkConfig]) -> Iterator[str]:
    given = of_tasks(plan.given, plan.tasks).network.model_dump(mode="json")
    if plan.own != given["model"]:
        yield (
            f"The recipe's own network, {given['model']} with levels: {given['levels']}, is named {plan.own} "
            "here, which it is with one level."
        )
    asked = {text.partition("=")[0] for text in plan.spec.overrides}
    changed: dict[tuple[str, str], list[str]] = {}
    for name in trained:
        settings = plan.networks[name].model_dump(mode="json")
        for key in given.keys() & settings.keys() - {"model"}:
            if settings[key] != given[key] and f"network.{key}" not in asked:
                changed.setdefault((key, _shown(settings[key])), []).append(name)
    for (key, value), names in sorted(changed.items()):
        is_trained = f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} trained"
        why = _why(key, names)
        yield f"{is_trained} with {key}: {value}, where the recipe says {_shown(given[key])}{why}."


def _why(key: str, names: list[str]) -> str:
    if key == "levels":
        shallow = " and ".join(f"{name} is {_SHALLOW[name]}" for name in names if name in _SHALLOW)
        return f": with one level, {shallow}; --set network.levels=1 asks for that"
    # The only other settings that one network has by stream and another has not.
    return {
        "experts": ": as many as the recipe's network has in all",
        "expert": ": the widths of its shared experts",
    }.get(key, "")


def _of_widths(plan: Plan, trained: Mapping[str, TrunkConfig]) -> Iterator[str]:
    names = [name for name, config in trained.items() if config != plan.networks[name]]
    if names:
        yield (
            f"Experts of {', '.join(names)} are wider or narrower than the recipe says, so that each network "
            f"has as many {plan.spec.match} as the recipe's own; the costs name all widths, and --match none "
            "keeps them."
        )


def _of_training(plan: Plan) -> Iterator[str]:
    given, training = plan.given.training, plan.recipe.training
    chooses = training.keep == "best"
    if chooses and training.monitor != given.monitor:
        yield (
            "The best epoch is chosen by the joint validation loss, where the recipe says "
            f"{given.monitor.metric}: that task is left out."
        )
    alone = [
        task for task in plan.tasks if of_tasks(plan.recipe, [task]).training.monitor != training.monitor
    ]
    if chooses and alone:
        yield (
            f"The {SINGLE} models of {', '.join(alone)} choose their best epoch by their own validation "
            f"loss, since the recipe's {training.monitor.metric} watches another task."
        )
    if given.threads not in (None, 1):
        yield f"Each run has one thread, where the recipe says training.threads: {given.threads}."
    unused = [name for name in ("gate", "tensorboard") if getattr(given, name)]
    if unused:
        yield f"Not used here: {', '.join(f'training.{name}' for name in unused)}."


def _shown(value: Any) -> str:
    return orjson.dumps(value).decode().replace('"', "").replace(",", ", ").replace(":", ": ")
