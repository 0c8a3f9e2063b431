"""Helper: the process in which previews are computed. Takes only what cores nobody else wants.

Answers one question after another, until the other end is closed. It is told configs and networks once and
asks again for what it has forgotten, so that whoever asks need not know what it knows:

    base, network   what questions refer to; no answer
    recent          what a config changes in the recent requests of a scene
    pick            the same of one of them, with its terms
    request         the same of a request that comes with the question
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from model.fusion import (
    FusionConfig,
    FusionError,
    LearnedFormula,
    Scorer,
    check_conditions,
    check_tasks,
    fusion_of,
)
from service.preview.comparing import Answer, Ranked, picture, side_by_side, without_ids
from service.preview.frames import SIZES, Head, frame
from service.preview.sample import Record, Sample, read_sample
from service.preview.selection import Selection, chosen

_BASES, _NETWORKS, _SAMPLES, _RANKED = 2, 16, 2, 4
"""How many of each are remembered."""

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class _Latest(Generic[_K, _V]):
    """What was used last, up to a number."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[_K, _V] = OrderedDict()

    def get(self, key: _K) -> _V | None:
        if key not in self._known:
            return None
        self._known.move_to_end(key)
        return self._known[key]

    def put(self, key: _K, value: _V) -> _V:
        self._known[key] = value
        self._known.move_to_end(key)
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        return value


@dataclass(frozen=True)
class _Base:
    """The config in force, and the bundle's names that configs may use."""

    config: FusionConfig
    tasks: list[str]
    features: list[str]


class _Unanswered(Exception):  # noqa: N818 (no error: the reply says what to do)
    """The question cannot be answered as it is: the reply says why."""

    def __init__(self, head: Head) -> None:
        self.head = head


class Desk:
    """Answers questions; remembers what they refer to."""

    def __init__(self) -> None:
        self._bases: _Latest[str, _Base] = _Latest(_BASES)
        self._networks: _Latest[str, bytes] = _Latest(_NETWORKS)
        self._open: _Latest[tuple[str, int], Scorer] = _Latest(_NETWORKS)
        self._samples: _Latest[str, Sample] = _Latest(_SAMPLES)
        self._ranked: _Latest[tuple[str, str, tuple[int, ...]], Ranked] = _Latest(_RANKED)

    def take(self, head: Head, body: bytes) -> bytes | None:
        """The reply to a frame, where it is a question."""
        if head["kind"] == "base":
            self._bases.put(head["base"], _Base(fusion_of(head["config"]), head["tasks"], head["features"]))
            return None
        if head["kind"] == "network":
            self._networks.put(head["sha256"], body)
            return None
        try:
            answer = self._answer(head, body)
        except _Unanswered as error:
            return frame(error.head)
        except FusionError as error:
            return frame({"refused": [head["field"], str(error).removeprefix("fusion config: ")]})
        if not head["ids"]:
            answer = without_ids(answer)
        return frame({}, orjson.dumps(answer))

    def _answer(self, head: Head, body: bytes) -> Answer:
        base = self._base(head)
        config = fusion_of(head["config"])
        check_tasks(config, base.tasks)
        check_conditions(config, base.features)
        self._check_networks(config)
        if not head["ids"] and (unknown := conditions_of(config) - conditions_of(base.config)):
            raise FusionError(
                f"the condition {min(unknown)} is none of the config in force; without the "
                "scope read, previews do not say of whose requests others hold"
            )
        common: Answer = {"base": {"revision": head["revision"], "version": head["version"]}}
        if head["kind"] == "request":
            record = read_sample(body).records[0]
            common |= {"sample_id": None, "made_ms": None, "requests": 1, "pick": 0}
            return common | self._side_by_side(record, base, config, head)
        if head["sample"] is None:
            common |= {"sample_id": None, "made_ms": None}
            sample = None
            rows: tuple[int, ...] = ()
        else:
            sample = self._sample(head["sample"])
            common |= {"sample_id": sample.name, "made_ms": sample.made_ms}
            rows = chosen(sample, head["recent"], head["scene"], (base.config, config))
        if head["kind"] == "pick":
            if sample is None or head["pick"] >= len(rows):
                found = f"there are {len(rows)} requests of scene {head['scene']} in the sample; "
                raise _Unanswered({"refused": ["pick", f"{found}expected a number below that"]})
            common |= {"requests": len(rows), "pick": head["pick"]}
            record = sample.records[rows[head["pick"]]]
            return common | self._side_by_side(record, base, config, head)
        if sample is None:
            return common | picture_of_nothing()
        before = self._before(head, sample, rows, base)
        after = Ranked(before.selection, config, self._scorer)
        return common | picture(before, after, head["top"])

    def _side_by_side(self, record: Record, base: _Base, config: FusionConfig, head: Head) -> Answer:
        found = side_by_side(record, base.config, config, self._scorer, head["top"])
        for mover in found["movers"]:
            mover["request"] = head["pick"] or 0
        return found

    def _before(self, head: Head, sample: Sample, rows: tuple[int, ...], base: _Base) -> Ranked:
        key = head["sample"], head["base"], rows
        found = self._ranked.get(key)
        if found is None:
            found = self._ranked.put(key, Ranked(Selection(sample, rows), base.config, self._scorer))
        return found

    def _base(self, head: Head) -> _Base:
        """What the question refers to.

        Raises:
            _Unanswered: some of it is not known here.
        """
        base = self._bases.get(head["base"])
        networks = [name for name in head["networks"] if self._networks.get(name) is None]
        if base is None or (networks and not head.get("told")):
            raise _Unanswered({"missing": {"base": base is None, "networks": networks}})
        return base

    def _sample(self, path: str) -> Sample:
        found = self._samples.get(path)
        if found is not None:
            return found
        try:
            return self._samples.put(path, read_sample(Path(path)))
        except (OSError, ValueError):
            raise _Unanswered({"gone": True}) from None

    def _check_networks(self, config: FusionConfig) -> None:
        for name, scene in config.scenes.items():
            if isinstance(scene, LearnedFormula):
                try:
                    self._opened(scene)
                except FusionError as error:
                    raise FusionError(f"scenes.{name}: network {scene.file}: {error}") from error

    def _scorer(self, formula: LearnedFormula) -> Scorer:
        """A formula's network; one that cannot be opened fails, so that the fallback ranks, as it serves."""
        try:
            return self._opened(formula)
        except FusionError as error:
            failure = error

        def fail(inputs: NDArray[np.float32]) -> NDArray[np.float32]:  # noqa: ARG001 (the protocol names it)
            raise failure

        return fail

    def _opened(self, formula: LearnedFormula) -> Scorer:
        from model.learned_fusion import LearnedNetwork  # most configs have none, and onnxruntime is large

        key = formula.sha256, len(formula.inputs)
        found = self._open.get(key)
        if found is not None:
            return found
        content = self._networks.get(formula.sha256)
        if content is None:
            raise FusionError(
                f"nobody here has the file of sha256 {formula.sha256}; propose a revision with it first"
            )
        return self._open.put(key, LearnedNetwork(content, len(formula.inputs)))


def conditions_of(config: FusionConfig) -> set[str]:
    """All conditions that a config puts on requests, as JSON."""
    scenes = config.scenes.values()
    found = [segment.when for scene in scenes for segment in scene.segmented]
    found += [
        segment.when
        for scene in scenes
        for calibration in (scene.calibration or {}).values()
        for segment in calibration.segments
    ]
    return {orjson.dumps(when, option=orjson.OPT_SORT_KEYS).decode() for when in found}


def picture_of_nothing() -> Answer:
    """Of no requests at all."""
    nothing = ("changed_first", "changed_top", "kendall_tau", "exposure", "rates")
    return {"requests": 0, "candidates": 0, **dict.fromkeys(nothing), "movers": []}


def _read(line: BinaryIO, count: int) -> bytes:
    """So many bytes; ends the process where the other end is closed."""
    found = line.read(count)
    if len(found) < count:
        sys.exit(0)
    return found


def serve() -> None:
    """Answer whoever has the other end of standard input, a socket, until it is closed."""
    gc.freeze()
    desk = Desk()
    with socket.socket(fileno=os.dup(0)) as end, end.makefile("rb") as line:
        end.sendall(frame({"ready": True}))
        while True:
            sizes = SIZES.unpack(_read(line, SIZES.size))
            head, body = (_read(line, size) for size in sizes)
            try:
                reply = desk.take(orjson.loads(head), body)
            except Exception as error:  # the worker says so in its log, and asks again another time
                reply = frame({"failed": f"{type(error).__name__}: {error}"})
            if reply is not None:
                end.sendall(reply)
