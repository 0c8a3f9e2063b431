"""Support: how far a log can speak for a config that did not rank it. Knows configs, no candidates.

A replay shows orders for certain and outcomes by predictions alone. What was never shown, or was shown by
another formula or by other settings than weights and smoothings, no log can say; weights can be known as far
as exploring disturbed them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import orjson

from model.errors import listed
from model.fusion import FusionConfig, Scene
from model.fusion.scene import VIDEO_LEN

MOST_NEVER_SHOWN = 0.05
"""Share of places with items that the log never showed, above which it cannot speak."""
FEW_CANDIDATES = 0.01
FAR = 3.0
"""Standard deviations of exploring: n exp(-9) requests are left of n."""
_EXPLORED = ("weight", "smoothing", "price")


@dataclass(frozen=True)
class Verdict:
    """One thing about a log and a config.

    Attributes:
        kind: `formula`, `settings`, `candidates`, `never_shown`, `shift`, `conditions`.
        outside: whether the config is out of the log's support in this.
        text: a sentence.
        figures: its numbers.
    """

    kind: Literal["formula", "settings", "candidates", "never_shown", "shift", "conditions"]
    outside: bool
    text: str
    figures: Mapping[str, Any]

    def report(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def verdicts(
    after: FusionConfig,
    logged: Sequence[FusionConfig],
    scenes: Sequence[str],
    *,
    requests: int,
    exposures: int,
    never_shown: float,
    top: int,
    said: set[str],
) -> Iterator[Verdict]:
    """What a log says of a config.

    Args:
        after: the config.
        logged: those that ranked.
        scenes: that requests were of.
        requests, exposures: replayed, and logged.
        never_shown: share of its first `top` places with items that were never among the first `top`.
        top: places.
        said: names of what is logged of requests.
    """
    yield from _formulas(after, logged, scenes)
    share = requests / max(exposures, 1)
    yield Verdict(
        "candidates",
        False,
        f"{share:.1%} of {exposures:,} logged requests hold all their candidates and are replayed"
        + ("; with so few, rare cases are missing" if share < FEW_CANDIDATES else ""),
        {"share": share},
    )
    yield Verdict(
        "never_shown",
        never_shown > MOST_NEVER_SHOWN,
        f"{never_shown:.1%} of its first {top} places hold items that the log never showed there",
        {"share": never_shown, "most": MOST_NEVER_SHOWN},
    )
    for name in scenes:
        missing = sorted(after.scene(name)[0].names_of_conditions() - said)
        if missing:
            yield Verdict(
                "conditions",
                True,
                f"scene {name}: its conditions look at {', '.join(missing)}, which is not logged: "
                "such conditions hold nowhere here",
                {"scene": name, "missing": missing},
            )
    yield from _shifts(after, logged, scenes)


def _formulas(
    after: FusionConfig, logged: Sequence[FusionConfig], scenes: Sequence[str]
) -> Iterator[Verdict]:
    for name in scenes:
        formula = after.scene(name)[0].formula
        before = sorted({config.scene(name)[0].formula for config in logged})
        if before and formula not in before:
            yield Verdict(
                "formula",
                True,
                f"scene {name}: {formula} never ranked here, {', '.join(before)} did; its orders are "
                "certain, what viewers do with them takes an experiment",
                {"scene": name, "formula": formula, "logged": before},
            )


def _shifts(after: FusionConfig, logged: Sequence[FusionConfig], scenes: Sequence[str]) -> Iterator[Verdict]:
    """How far weights are from those that exploring disturbed, in its standard deviations."""
    for name in scenes:
        scene = after.scene(name)[0]
        ranked = [config.scene(name)[0] for config in logged]
        of_formula = [one for one in ranked if one.formula == scene.formula]
        differing = [_differing(scene, one) for one in of_formula]
        keys = min(differing, key=len, default=[])
        if keys:
            yield Verdict(
                "settings",
                True,
                f"scene {name}: differs in {listed(keys)}, which no exploring varies; "
                "what viewers do with its orders takes an experiment",
                {"scene": name, "keys": keys},
            )
            continue
        alike = [one for one, keys in zip(of_formula, differing, strict=True) if not keys and one.explore]
        if not alike:
            if of_formula or not any(one.explore for one in ranked):
                yield Verdict(
                    "shift",
                    False,
                    f"scene {name}: the log disturbed no weights, so that it cannot say what other "
                    "weights do",
                    {"scene": name, "explored": False},
                )
            continue  # else the formula's verdict says it
        segment, shifts = min((_farthest(scene, one) for one in alike), key=lambda one: _length(one[1]))
        length = _length(shifts)
        terms = ", ".join(f"{_term(term)} {z:+.1f}" for term, z in shifts.items() if z)
        far = f"{length:.1f}" if math.isfinite(length) else "infinitely many"
        yield Verdict(
            "shift",
            length >= FAR,
            f"scene {name}"
            + (f", segment {segment}" if segment is not None else "")
            + f": {far} standard deviations of exploring away"
            + (f" ({terms})" if terms else "")
            + f"; of n explored requests, {math.exp(-min(length * length, 700.0)):.2g} n speak for it",
            {
                "scene": name,
                "segment": segment,
                "explored": True,
                "length": length,
                "effective_share": math.exp(-min(length * length, 700.0)),
                "terms": shifts,
            },
        )


def _laws(scene: Scene) -> Iterator[tuple[str | None, Scene]]:
    """The scene where no segment holds, and as it is in each of them, with their names."""
    yield None, scene
    for one in scene.segmented:
        yield one.name, scene.model_copy(update={"tasks": one.tasks, "video_len": one.video_len})


def _differing(scene: Scene, logged: Scene) -> list[str]:
    """Keys of settings that are not the same in two scenes of one formula: all but weights and smoothings."""
    when, before = ([one.when for one in each.segmented] for each in (scene, logged))
    if _spelled(when) != _spelled(before):
        return [*_differing_law(scene, logged), "segments"]
    found: dict[str, None] = {}
    for (segment, one), (_, other) in zip(_laws(scene), _laws(logged), strict=True):
        for key in _differing_law(one, other):
            if key not in found:  # else it has that of the scene
                own = segment is not None and key.startswith(("tasks.", "video_len."))
                found[f"segments.{segment}.{key}" if own else key] = None
    return list(found)


def _differing_law(scene: Scene, logged: Scene) -> list[str]:
    """The same without a look at segments. Of what counts in both: else its weight is what differs."""
    counts = scene.parameters().keys() & logged.parameters().keys()
    one, other = _settings(scene, counts), _settings(logged, counts)
    if one.get("video_len.kind") != other.get("video_len.kind"):
        return ["video_len.kind"] + [key for key in _unlike(one, other) if not key.startswith("video_len.")]
    return _unlike(one, other)


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    keys = dict.fromkeys([*one, *other])
    return [key for key in keys if _spelled(one.get(key)) != _spelled(other.get(key))]


def _spelled(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)  # in which 1.0 is not true


def _settings(scene: Scene, counts: Set[str]) -> dict[str, Any]:
    """What no exploring varies of a scene, by key, as far as these parameters make it count."""
    # A network's checksum says which it is, whatever its file is called.
    found = scene.model_dump(mode="json", exclude_none=True, exclude={"explore", "segments", "file"})
    tasks, length, maps = (found.pop(key, {}) for key in ("tasks", "video_len", "calibration"))
    for task in sorted(scene.weights.keys() & counts):
        term = {key: value for key, value in tasks.get(task, {}).items() if key not in _EXPLORED}
        if "price_per_s" in term:  # which exploring changes by the factor that it changes the price by
            price = tasks[task]["price"]
            term["price_per_s"] = float(f"{term['price_per_s'] / price:.9g}") if price else None
        found |= {f"tasks.{task}.{key}": value for key, value in term.items()}
        if task in maps:
            found[f"calibration.{task}"] = maps[task]
    if VIDEO_LEN in counts:
        found |= {f"video_len.{key}": value for key, value in length.items() if key not in _EXPLORED}
    else:
        found.pop("combine", None)  # with the length
    return found


def _farthest(scene: Scene, logged: Scene) -> tuple[str | None, dict[str, float]]:
    """The segment, or None for the scene itself, whose weights are shifted most, and their shift."""
    shifts = [
        (segment, shift(one.parameters(), other))
        for (segment, one), (_, other) in zip(_laws(scene), _laws(logged), strict=True)
    ]
    return max(shifts, key=lambda one: _length(one[1]))


def shift(weights: Mapping[str, float], logged: Any) -> dict[str, float]:
    """By term: z of these weights under a scene's noise law; infinite for a term that it never disturbed."""
    means = logged.parameters()
    deviations = logged.explore.deviations(np.array(list(means.values())), logged.least())
    found = {
        term: (weights.get(term, 0.0 if "." not in term else -math.inf) - mean) / deviation
        for (term, mean), deviation in zip(means.items(), deviations.tolist(), strict=True)
    }
    return found | {term: math.inf for term in weights if term not in means}


def _length(shifts: Mapping[str, float]) -> float:
    return math.sqrt(sum(z * z for z in shifts.values()))


def _term(name: str) -> str:
    if name == VIDEO_LEN:
        return "video_len"
    return name.replace("log_smoothing.", "smoothing of ")
