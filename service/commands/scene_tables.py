"""Scenes for people: the terms of a score, maps, segments and exploring. Knows no files and no bundles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from model.fusion import (
    LearnedFormula,
    LengthFactor,
    LogPower,
    PricedTask,
    RankEnsemble,
    Scene,
    TaskTerm,
    WeightedSum,
)
from model.fusion.calibration import CalibrationMap, Platt

_VIDEO_LEN = "video_len"


def scene_tables(name: str, scene: Scene, tasks: Iterable[str] = ()) -> Iterator[RenderableType]:
    """A scene with its defaults filled in: what each term is, and for whom what else holds.

    Args:
        name: of the scene.
        scene: what it is.
        tasks: of the bundle: those that the scene leaves out are named.
    """
    yield Text(f"scene {name}: {scene.formula}", style="bold")
    yield Text(f"  {_SUMMED[scene.formula]}", style="dim")
    yield _terms(scene, tasks)
    if scene.calibration:
        yield _maps(scene)
    if scene.segmented:
        yield _segments(scene)
    if scene.explore is not None:
        law = scene.explore
        unit = law.unit.replace("_", " and ")
        share = f"{law.share:.15g}" if law.share < 0.001 else f"{law.share * 100:g} %"
        disturbed = ", ".join(scene.parameters()) or "nothing: no weight differs from 0"
        yield Text(f"  explore: {share} of units ({unit}), noise {law.noise:g}, of {disturbed}")


_SUMMED = {
    "log_power": "log score = the sum of weight * log(...)",
    "weighted_sum": "score = the sum of price * (...)",
    "rank_ensemble": "score = the sum of weight / (k + rank in the request)",
    "model": "score = a network's",
}


def _terms(scene: Scene, tasks: Iterable[str]) -> Table:
    calibrated = scene.calibration or {}

    def p(task: str) -> str:
        return "calibrated p" if task in calibrated else "p"

    rows: list[tuple[str, str, str]] = []
    match scene:
        case LogPower():
            for task, term in scene.tasks.items():
                rows.append((task, f"{term.weight:g}", f"log({_clipped(term, p(task))})"))
            rows.append((_VIDEO_LEN, *_factor(scene.video_len, "log f")))
        case WeightedSum():
            rows += [(task, _price(term), _line(term, p(task))) for task, term in scene.tasks.items()]
            times = scene.combine == "times"
            rows.append((_VIDEO_LEN, *_factor(scene.video_len, "all times f^weight" if times else "f")))
            if any(term.price_per_s for term in scene.tasks.values()):
                rows.append(
                    ("s", "", f"seconds, {scene.longest_s:g} at most; {scene.missing_s:g} where unknown")
                )
        case RankEnsemble():
            rows += [
                (task, f"{ranked.weight:g}", f"1 / ({scene.k:g} + rank of {p(task)})")
                for task, ranked in scene.tasks.items()
            ]
            rows.append((_VIDEO_LEN, *_factor(scene.video_len, f"1 / ({scene.k:g} + rank of f)")))
        case LearnedFormula():
            rows += [
                (name, "", f"input {column}: {p(name) if name in scene.tasks else 'seconds'}")
                for column, name in enumerate(scene.inputs)
            ]
            rows.append(("network", "", f"{scene.file}, sha256 {scene.sha256[:12]}..."))
            rows.append(("fallback", "", f"scene {scene.fallback}"))
    known = [name for name, _, _ in rows]
    rows += [(task, "0", "left out of the config") for task in tasks if task not in known]
    heading = "price" if isinstance(scene, WeightedSum) else "weight"
    return _table(("term", heading, "of"), rows)


def _maps(scene: Scene) -> Table:
    rows = []
    for task, calibration in (scene.calibration or {}).items():
        rows += [
            (task, f"where {_condition(segment.when)}", _map(segment.map)) for segment in calibration.segments
        ]
        rows.append((task, "else" if calibration.segments else "everywhere", _map(calibration.map)))
    return _table(("calibration", "holds", "map"), rows)


def _segments(scene: Scene) -> Table:
    """Segments, with what differs from the scene."""
    rows = []
    own: Mapping[str, Any] = {} if isinstance(scene, LearnedFormula) else scene.tasks
    for segment in scene.segmented:
        changed = [
            f"{task} {_weight(term, own.get(task))}"
            for task, term in segment.tasks.items()
            if own.get(task) != term
        ]
        if segment.video_len != scene.video_len:
            weight, of = _factor(segment.video_len, "f")
            like = segment.video_len == scene.video_len.model_copy(
                update={"weight": segment.video_len.weight}
            )
            changed.append(f"{_VIDEO_LEN} {weight}" if like else f"{_VIDEO_LEN} {weight} of {of}")
        rows.append((segment.name, _condition(segment.when), ", ".join(changed) or "as the scene"))
    return _table(("segment", "the first that holds", "changes"), rows)


def _clipped(term: TaskTerm, p: str) -> str:
    low, high = term.clip
    return f"clip({p}, {low:g}, {high:g})" + (f" + {term.smoothing:g}" if term.smoothing else "")


def _price(term: PricedTask) -> str:
    if not term.price_per_s:
        return f"{term.price:g}"
    return f"{term.price_per_s:g} s" if not term.price else f"{term.price:g} + {term.price_per_s:g} s"


def _line(term: PricedTask, p: str) -> str:
    slope = p if term.b == 1.0 else f"{term.b:g} {p}"
    return f"{term.a:g} + {slope}" if term.a else slope


def _weight(term: Any, own: Any) -> str:
    """A term of a segment: its weight, and what else is not as in the scene."""
    if isinstance(term, PricedTask):
        line = _line(term, "p")
        return _price(term) if own and line == _line(own, "p") else f"({_price(term)}) * ({line})"
    if not isinstance(term, TaskTerm) or (own and _clipped(term, "p") == _clipped(own, "p")):
        return f"{term.weight:g}"
    return f"{term.weight:g} * log({_clipped(term, 'p')})"


def _factor(length: LengthFactor, term: str) -> tuple[str, str]:
    """The length's weight, and what it weighs."""
    if length.model_dump()["kind"] == "none":
        return "0", "none: the length does not count"
    return f"{length.weight:g}", f"{term}; f: {_length(length)}"


def _length(length: LengthFactor) -> str:
    values = length.model_dump(mode="json")
    kind = values.pop("kind")
    values.pop("weight")
    return f"{kind}  " + ", ".join(f"{key} {_plain(value)}" for key, value in values.items())


def _map(chosen: CalibrationMap) -> str:
    if isinstance(chosen, Platt):
        return f"platt: sigmoid({chosen.a:.4g} + {chosen.b:.4g} logit p)"
    (first, low), (last, high) = chosen.points[0], chosen.points[-1]
    points = f"{len(chosen.points)} points from ({first:.4g}, {low:.4g})"
    return f"isotonic: {points} to ({last:.4g}, {high:.4g})"


def _condition(when: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_test(test)}" for name, test in when.items())


def _test(test: Any) -> str:
    if isinstance(test, dict):
        ends = [
            f"{words} {test[key]:g}" for key, words in (("from", "from"), ("below", "below")) if key in test
        ]
        return " ".join(ends)
    return " or ".join(str(one).lower() if isinstance(one, bool) else _plain(one) for one in test)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(*headers, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for row in rows:
        table.add_row(*map(Text, row))
    return table
