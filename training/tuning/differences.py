"""Differences: what changes where one config ranks in place of another, over many requests.

Takes requests batch by batch and keeps a few numbers of each request and each item. Knows neither files nor
how it is shown. "Before" and "after" are the two configs.

Shapes: R requests, N candidates of all of them, of a batch.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from model.fusion.comparison import compare_orders
from training.events.columns import context_of
from training.metrics.resampling import UNIT, Draws, Ends, Resamples
from training.metrics.reward import check_reward, values_of
from training.tuning.replay import Replayed
from training.tuning.requests import Floats, Ints, Numbers, Requests

SIDES = ("before", "after")
LENGTHS_S = (7.0, 15.0, 30.0, 60.0, 180.0)
"""Bounds of the groups of lengths that exposure is counted in, seconds."""
REWARD = "reward"
_MOST_VALUES = 12
"""Of a context feature that is shown value by value."""
_MOVERS = 10
_SAME = 1e-9
"""Of rank-biased overlap, less than which no order changes one from 1."""


@dataclass(frozen=True)
class Measures:
    """What is measured.

    Attributes:
        tasks: whose predictions there are.
        reward: what an item is worth, over task names and `video_len_s`.
        calibrated_by: by task: `after` or `before`, whose calibration the rates go by; `neither`.
        top: items of an answer that are looked at.
        examples: requests that are kept whole: those whose order changes most.

    Raises:
        FulcrumError: the reward is no expression over the tasks.
    """

    tasks: Sequence[str]
    reward: str
    calibrated_by: Mapping[str, str]
    top: int = 10
    examples: int = 3

    def __post_init__(self) -> None:
        check_reward(self.reward, self.tasks)


@dataclass
class _ByItem:
    """Sums by item, which grow with their number."""

    requests: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    place: Ints = field(default_factory=lambda: np.zeros((2, 0), np.int64))
    top: Ints = field(default_factory=lambda: np.zeros((2, 0), np.int64))

    def add(self, item: Ints, places: Ints, inside: npt.NDArray[np.bool_], count: int) -> None:
        """Candidates [N] with their places before and after [2, N], and which are among the first."""
        more = count - len(self.requests)
        self.requests = np.pad(self.requests, (0, more)) + np.bincount(item, minlength=count)
        sums = [np.bincount(item, of, count).astype(np.int64) for of in places]
        self.place = np.pad(self.place, ((0, 0), (0, more))) + sums
        tops = [np.bincount(item[of], minlength=count) for of in inside]
        self.top = np.pad(self.top, ((0, 0), (0, more))) + tops


class Differences:
    """The differences between two orders of the same requests."""

    def __init__(self, measures: Measures) -> None:
        self._measures = measures
        self._columns: dict[str, list[npt.NDArray[Any]]] = {}
        self._scenes, self._said = Numbers(), Numbers()
        self._examples: list[tuple[float, str, dict[str, Any]]] = []
        self._lengths = np.zeros((2, len(LENGTHS_S) + 2), np.int64)
        self._agreement: Counter[str] = Counter()
        self._failed = dict.fromkeys(SIDES, 0)
        self.by_item = _ByItem()

    def add(self, requests: Requests, before: Replayed, after: Replayed, items: Numbers) -> None:
        """Compare both orders of some requests, whose items' names are given.

        Raises:
            FulcrumError: the reward of a scored candidate is no finite number.
        """
        measures, count = self._measures, len(requests)
        scored = requests.scored
        found = _compared(requests, before, after, measures.top)
        inside = (found["places"] < measures.top) & scored  # [2, N]
        of_request = np.repeat(np.arange(count), requests.sizes)
        values = {task: self._rate(task, requests, before, after) for task in measures.tasks}
        values[REWARD] = np.full(len(scored), np.nan)
        values[REWARD][scored] = values_of(
            measures.reward,
            {task: values[task][scored] for task in measures.tasks},
            requests.video_len_s[scored],
        )
        columns: dict[str, npt.NDArray[Any]] = {
            name: found[name] for name in ("first", "share", "changed", "tau_b", "rbo")
        }
        for name, value in values.items():
            known = ~np.isnan(value)
            for side, of in zip(SIDES, inside, strict=True):
                chosen = of & known
                columns[f"{side} {name}"] = np.bincount(of_request[chosen], value[chosen], count)
                columns[f"{side} {name} items"] = np.bincount(of_request[chosen], minlength=count)
        columns |= {
            "user": requests.user,
            "scene": self._scenes.of(pl.Series(requests.scene, dtype=pl.String)),
            "said": self._said.of(pl.Series(requests.said, dtype=pl.String).fill_null("{}")),
        }
        for side, replayed in zip(SIDES, (before, after), strict=True):
            self._failed[side] += int(np.count_nonzero(replayed.failed))
        for name, column in columns.items():
            small = np.float32 if column.dtype == np.float64 and " " not in name else column.dtype
            self._columns.setdefault(name, []).append(column.astype(small))
        self.by_item.add(requests.item, found["places"], inside, len(items))
        group = np.searchsorted(LENGTHS_S, requests.video_len_s, side="right")
        group[np.isnan(requests.video_len_s)] = len(LENGTHS_S) + 1
        self._lengths += [np.bincount(group[of], minlength=len(LENGTHS_S) + 2) for of in inside]
        self._keep_examples(requests, found, items)

    def agree(self, requests: Requests, replayed: Replayed, version: str) -> None:
        """Count how many answers that a config gave come out of its replay again, item by item."""
        rows = np.flatnonzero((requests.version == version) & (np.diff(requests.shown_start) > 0))
        if not len(rows):
            return
        shown = np.diff(requests.shown_start)[rows]
        offset = np.arange(shown.sum()) - np.repeat(np.cumsum(shown) - shown, shown)
        answered = requests.shown[np.repeat(requests.shown_start[rows], shown) + offset]
        again = requests.item[replayed.order[np.repeat(requests.start[rows], shown) + offset]]
        wrong = np.bincount(np.repeat(np.arange(len(rows)), shown), answered != again, len(rows))
        self._agreement.update(answers=len(rows), equal=int(np.count_nonzero(wrong == 0)))

    def report(self, names: Sequence[str]) -> dict[str, Any]:
        """All of it, for items with these names; there must be requests. NaN for what is withheld."""
        columns = {name: np.concatenate(parts) for name, parts in self._columns.items()}
        resamples = Resamples(columns["user"].astype(np.int64))
        rates = {name: self._difference(columns, resamples, name) for name in self._measures.tasks}
        return {
            "users": resamples.users,
            "change": {
                name: _mean(columns[name].astype(np.float64), resamples, within)
                for name, within in _CHANGES.items()
            },
            "rates": {
                name: found | {"calibrated_by": self._measures.calibrated_by[name]}
                for name, found in rates.items()
            },
            "reward": self._difference(columns, resamples, REWARD) | {"expression": self._measures.reward},
            "movers": self._movers(names, len(columns["user"])),
            "lengths": self._exposure(),
            "segments": self._segments(columns),
            "examples": [of for _, _, of in sorted(self._examples, key=lambda one: -one[0])],
            "answers": dict(self._agreement) if self._agreement else None,
            "failed": dict(self._failed),
        }

    @property
    def scenes(self) -> list[str]:
        """That requests were of."""
        return list(self._scenes.names)

    @property
    def said(self) -> set[str]:
        """Names of what requests said."""
        return {name for text in self._said.names for name in context_of(text)}

    def never_shown(self, shown: npt.NDArray[np.bool_]) -> float:
        """Share of the places that the second config fills with items that are not among those shown."""
        top = self.by_item.top[1]
        return float(top[~shown[: len(top)]].sum() / max(top.sum(), 1))

    def _rate(self, task: str, requests: Requests, before: Replayed, after: Replayed) -> Floats:
        """Predictions of a task as they are judged, the same for both orders [N]."""
        by = self._measures.calibrated_by[task]
        of = after if by == "after" else before
        raw = requests.predictions[task]
        return raw.astype(np.float64) if by == "neither" else of.calibrated.get(task, raw.astype(np.float64))

    def _difference(
        self, columns: Mapping[str, npt.NDArray[Any]], resamples: Resamples, name: str
    ) -> dict[str, Any]:
        """Means per item among the first of both orders, and their difference, resampled by user."""
        parts = [columns[f"{side} {name}{what}"] for side in SIDES for what in ("", " items")]
        sums = [float(part.sum()) for part in parts]
        before, after = _ratio(sums[0], sums[1]), _ratio(sums[2], sums[3])

        def draws() -> Draws:
            one, ones, other, others = (each[:, 0] for each in resamples.sums(*parts))
            with np.errstate(invalid="ignore", divide="ignore"):  # a draw of none of which it is known
                return np.asarray(other / others - one / ones, np.float64)

        rows = np.ones(len(parts[0]), np.bool_)
        interval = resamples.interval(after - before, draws, rows)
        return {
            "before": before,
            "after": after,
            "difference": after - before,
            "interval": interval,
            "relative": _ratio(after - before, abs(before)),
            "relative_interval": tuple(_ratio(end, abs(before)) for end in interval),
        }

    def _movers(self, names: Sequence[str], requests: int) -> list[dict[str, Any]]:
        of = self.by_item
        change = of.top[1] - of.top[0]
        chosen = np.argsort(-np.abs(change), kind="stable")[:_MOVERS]
        return [
            {
                "item": names[item],
                "requests": int(of.requests[item]),
                **{f"top_{side}": int(of.top[row, item]) for row, side in enumerate(SIDES)},
                "exposure_change": float(change[item] / requests),
                **{
                    f"rank_{side}": float(of.place[row, item] / of.requests[item]) + 1.0
                    for row, side in enumerate(SIDES)
                },
            }
            for item in chosen
            if change[item]
        ]

    def _exposure(self) -> list[dict[str, Any]]:
        names = [f"below {LENGTHS_S[0]:g} s"]
        names += [f"{low:g} to {high:g} s" for low, high in pairwise(LENGTHS_S)]
        names += [f"{LENGTHS_S[-1]:g} s and more", "unknown"]
        shares = self._lengths / np.maximum(self._lengths.sum(axis=1, keepdims=True), 1)
        return [
            {"length": name, "before": float(one), "after": float(other)}
            for name, one, other in zip(names, *shares, strict=True)
            if one or other
        ]

    def _segments(self, columns: Mapping[str, npt.NDArray[Any]]) -> list[dict[str, Any]]:
        documents = [context_of(text) for text in self._said.names]
        features = dict.fromkeys(name for one in documents for name in one)
        found = self._segment("scene", columns["scene"], self._scenes.names, columns)
        for feature in features:
            values = Numbers()
            texts = [_shown(one.get(feature)) for one in documents]
            of = values.of(pl.Series(texts, dtype=pl.String))
            if 1 < len(values) <= _MOST_VALUES:
                found += self._segment(feature, of[columns["said"]], values.names, columns)
        return found

    def _segment(
        self, feature: str, of: Ints, names: Sequence[str], columns: Mapping[str, npt.NDArray[Any]]
    ) -> list[dict[str, Any]]:
        def sums(name: str) -> Floats:
            return np.bincount(of, columns[name], len(names)).astype(np.float64)

        requests = np.bincount(of, minlength=len(names))
        with np.errstate(invalid="ignore", divide="ignore"):
            shown = {
                "first": sums("first") / requests,
                "share": sums("share") / requests,
                **{side: sums(f"{side} {REWARD}") / sums(f"{side} {REWARD} items") for side in SIDES},
            }
        order = sorted(range(len(names)), key=lambda at: _sorting(names[at]))
        return [
            {"feature": feature, "value": names[at], "requests": int(requests[at])}
            | {name: float(values[at]) for name, values in shown.items()}
            for at in order
        ]

    def _keep_examples(self, requests: Requests, found: Mapping[str, Any], items: Numbers) -> None:
        most = self._measures.examples
        for row in np.argsort(found["rbo"], kind="stable")[:most]:
            change = 1.0 - float(found["rbo"][row])
            full = len(self._examples) >= most
            if change <= _SAME or (full and change <= self._examples[0][0]):
                break
            entry = (change, str(requests.ids[row]), self._example(requests, found, items, int(row)))
            (heapq.heappushpop if full else heapq.heappush)(self._examples, entry)

    def _example(
        self, requests: Requests, found: Mapping[str, Any], items: Numbers, row: int
    ) -> dict[str, Any]:
        part = slice(requests.start[row], requests.start[row + 1])
        places = found["places"][:, part]
        chosen = np.flatnonzero((places < self._measures.top).any(axis=0))
        lines = [
            {
                "item": items.names[requests.item[part][at]],
                "before": int(places[0, at]) + 1,
                "after": int(places[1, at]) + 1,
                "video_len_s": float(requests.video_len_s[part][at]),
                **{f"p_{task}": float(p[part][at]) for task, p in requests.predictions.items()},
            }
            for at in chosen[np.argsort(places[1, chosen], kind="stable")]
        ]
        return {
            "request": str(requests.ids[row]),
            "scene": str(requests.scene[row]),
            "context": {k: v for k, v in context_of(requests.said[row]).items() if v is not None},
            "candidates": int(requests.sizes[row]),
            "tau_b": float(found["tau_b"][row]),
            "rbo": float(found["rbo"][row]),
            "items": lines,
        }


_CHANGES: dict[str, Ends] = {"first": UNIT, "changed": UNIT, "share": UNIT, "tau_b": (-1.0, 1.0), "rbo": UNIT}
"""What is said of a change, and the ends of its values."""


def _compared(requests: Requests, before: Replayed, after: Replayed, top: int) -> dict[str, Any]:
    """Measures by request [R], and `places` of candidates in both orders [2, N]."""
    count, sizes = len(requests), requests.sizes
    places = np.zeros((2, len(requests.item)), np.int64)
    found: dict[str, Any] = {name: np.zeros(count) for name in ("first", "share", "changed", "tau_b", "rbo")}
    for size in np.unique(sizes):
        rows = np.flatnonzero(sizes == size)
        at = requests.start[rows][:, None] + np.arange(size)  # [rows, size]
        compared = compare_orders(before.value[at], after.value[at], top=top)
        places[0][at], places[1][at] = compared.before, compared.after
        found["first"][rows] = compared.first_changed
        found["share"][rows] = compared.top_changed
        found["changed"][rows] = compared.top_changed > 0
        found["tau_b"][rows], found["rbo"][rows] = compared.tau_b, compared.rbo
    return found | {"places": places}


def _mean(values: Floats, resamples: Resamples, within: Ends) -> dict[str, Any]:
    """The mean of what is known, with its interval."""
    known = np.isfinite(values)
    value = float(values[known].mean()) if known.any() else float("nan")

    def draws() -> Draws:
        total, count = resamples.sums(np.where(known, values, 0.0), known.astype(np.float64))
        with np.errstate(invalid="ignore", divide="ignore"):  # as above
            return np.asarray((total / count)[:, 0], np.float64)

    if not known.any():
        return {"mean": value, "interval": (value, value)}
    return {"mean": value, "interval": resamples.interval(value, draws, known, within=within)}


def _ratio(value: float, of: float) -> float:
    return value / of if of else float("nan")


def _shown(value: Any) -> str:
    return "(none)" if value is None else str(value)


def _sorting(name: str) -> tuple[int, float, str]:
    """Numbers by size, then texts."""
    try:
        return 0, float(name), name
    except ValueError:
        return 1, 0.0, name
