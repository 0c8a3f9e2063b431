"""Findings: what the intervals allow to say, in words.

Every sentence is made of verdicts; none is written in advance. Knows the analysis as `report.json` has it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

DASH = "\u2013"
"""What stands for a number that is not known."""
MINUS = "\u2212"

_LEVELED = ("ple", "cgc")


def findings(found: Mapping[str, Any], *, own: str | None, seeds: int) -> list[str]:
    """Sentences, the most important first.

    Args:
        found: `tasks` and `networks` of the report.
        own: the recipe's own network, None where it is not part of the report.
        seeds: how many were asked for.
    """
    networks: Mapping[str, Any] = found["networks"]
    gains = {name: of["gains"] for name, of in networks.items() if of["gains"] is not None}
    said = [sentence for task in found["tasks"] for sentence in _of_task(task, gains)]
    said += [_of_network(name, gains[name]) for name in _LEVELED if name in gains]
    said += _seesaws({name: of for name, of in gains.items() if name not in _LEVELED})
    if own is not None:
        said += _against_own(found["tasks"], networks, own)
    said.append(_behind(networks, seeds))
    judged = [task["name"] for task in found["tasks"] if task["intervals"]]
    verdicts = sum(of[name]["seeds"] > 0 for of in gains.values() for name in judged)
    if verdicts > 1:
        said.append(
            f"Each interval misses the truth one time in twenty: of {verdicts} verdicts against single-task "
            f"models, expect about {verdicts / 20:g} to be wrong by chance alone."
        )
    return said


def seesaw(gains: Mapping[str, Mapping[str, Any]]) -> str:
    """What a network's gains on all tasks come to, in one word of the report."""
    verdicts = {of["verdict"] for of in gains.values()}
    if verdicts >= {"better", "worse"}:
        return "seesaw"
    if "worse" in verdicts:
        return "negative transfer"
    if verdicts == {"better"}:
        return "better on all"
    return "better on some" if "better" in verdicts else "undecided"


def signed(value: float | None, digits: int | None = None) -> str:
    """`+.0012`, one digit more of what is smaller than .001, or a dash for what is not known."""
    if value is None or math.isnan(value):
        return DASH
    if digits is None:
        digits = 5 if 0 < abs(value) < 1e-3 else 4
    text = f"{abs(value):.{digits}f}"
    text = text[1:] if text.startswith("0.") else text
    return f"{MINUS if value < 0 else '+'}{text}"


def _of_task(task: Mapping[str, Any], gains: Mapping[str, Any]) -> Iterator[str]:
    name, metric = task["name"], "AUC" if task["metric"] == "auc" else "MSE"
    if not task["intervals"]:
        yield f"On {name}, too few users stand behind the validation rows for any verdict."
        return
    verdicts: dict[str, list[str]] = {"better": [], "worse": [], "undecided": []}
    trained = {network: of[name] for network, of in gains.items() if of[name]["seeds"]}
    for network, of in sorted(trained.items(), key=lambda item: -item[1]["gain"]):
        verdicts[of["verdict"]].append(f"{network} ({_with_interval(of)})")
    if not trained:
        yield f"On {name}, no network has a run to compare with single-task models."
        return
    better = _listed(verdicts["better"]) or "no network"
    yield (
        f"On {name} ({metric}), surely better than single-task models: {better}; "
        f"surely worse: {_listed(verdicts['worse']) or 'no network'}; "
        f"undecided: {len(verdicts['undecided'])} of {len(trained)}."
    )


def _of_network(name: str, gains: Mapping[str, Mapping[str, Any]]) -> str:
    verdict = seesaw(gains)
    title = name.upper()
    detail = "; ".join(f"{task} {of['verdict']} ({_with_interval(of)})" for task, of in gains.items())
    if verdict == "seesaw":
        return f"{title} shows a seesaw: it surely gains on one task and surely loses on another: {detail}."
    if verdict == "negative transfer":
        return f"{title} shows negative transfer, and no sure gain that would make it a seesaw: {detail}."
    if verdict == "better on all":
        return f"{title} shows no seesaw: it is surely better on every task: {detail}."
    return f"{title} shows no sure seesaw, which is not the same as none: {detail}."


def _seesaws(gains: Mapping[str, Any]) -> Iterator[str]:
    for verdict, words in (
        ("seesaw", "A sure seesaw"),
        ("negative transfer", "Sure losses without a sure gain"),
    ):
        names = [name for name, of in gains.items() if seesaw(of) == verdict]
        if names:
            yield f"{words}: {_listed(names)}."


def _against_own(tasks: Sequence[Mapping[str, Any]], networks: Mapping[str, Any], own: str) -> Iterator[str]:
    for task in tasks:
        against = {
            name: of["against_own"][task["name"]]
            for name, of in networks.items()
            if of["against_own"] is not None
        }
        sides = {
            verdict: [
                f"{name} ({_with_interval(of)})" for name, of in against.items() if of["verdict"] == verdict
            ]
            for verdict in ("better", "worse")
        }
        if against:
            yield (
                f"Against the recipe's own network ({own}) on {task['name']}: "
                f"surely better {_listed(sides['better']) or 'none'}; "
                f"surely worse {_listed(sides['worse']) or 'none'}."
            )


def _behind(networks: Mapping[str, Any], seeds: int) -> str:
    runs = [(name, run) for name, of in networks.items() for run in of["runs"]]
    finished = sum(run["status"] == "finished" for _, run in runs)
    text = (
        f"Behind this are {finished} finished runs of {len(networks)} networks with "
        f"{seeds} {'seed' if seeds == 1 else 'seeds'} each"
    )
    others = [
        f"{name} seed {run['seed']} ({run['status']})" for name, run in runs if run["status"] != "finished"
    ]
    if others:
        text += f"; not finished: {_listed(others)}"
    if seeds == 1:
        text += (
            "; with one seed, intervals count test users alone and say nothing of the chance of a training"
        )
    return f"{text}."


def _with_interval(of: Mapping[str, Any]) -> str:
    low, high = of["interval"]
    return f"{signed(of['gain'])} [{signed(low)}, {signed(high)}]"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
