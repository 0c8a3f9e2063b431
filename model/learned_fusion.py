"""The network of a learned formula, as onnxruntime runs it, and the proof that it may rank.

The service and replay open networks by this one class, so that they give the same scores. Knows neither files
nor configs: takes bytes, so that what runs is what was checked. Shapes: N candidates, K inputs.
"""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from model.bundle.external import external_files, has_inner_graphs
from model.fusion import FusionError, LearnedFormula, SceneConfig, Scorer
from model.fusion.conditions import LENGTH
from model.fusion.network_file import read_network

Floats = NDArray[np.float32]

RAISES = 2000
"""Raises of one prediction that a network is tried on."""
MOST_S_PER_1000 = 0.05
"""Seconds that 1,000 candidates may take."""

_MANY, _FEW, _TIMES = 1000, 1, 5
"""Candidates of the runs from which the pace is measured, and how often each is run."""
_ROUNDING = 1e-6
"""Of a score, eight steps of a float32: what is within it is no drop and no difference."""
_LEAST_P = 1e-6
_ALONE = 64
_LONGEST_S = 1e9
_MOST_SHOWN = 8


class PaceError(FusionError):
    """The network is too slow here and now; on an idle machine it may not be."""


class LearnedNetwork:
    """A network from inputs [N, K] to scores [N], on one thread. Safe to call from many threads.

    Args:
        content: the ONNX file.
        inputs: K.

    Attributes:
        content: the ONNX file.

    Raises:
        FusionError: it is no ONNX, needs other files, has loops, takes or gives something else, or fails.
    """

    def __init__(self, content: bytes, inputs: int) -> None:
        _check_structure(content)
        self.content = content
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 4  # what it would log is raised
        try:
            self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a dozen types of its own
            raise FusionError(f"onnxruntime cannot load it ({_first_line(error)})") from error
        self._input, self._outputs = _names(self._session, inputs)
        many, few = (self._measured(rows, inputs) for rows in (_MANY, _FEW))
        self._per_candidate_s = max(0.0, many - few) / (_MANY - _FEW)
        self._fixed_s = few

    def __call__(self, inputs: Floats) -> Floats:
        """Scores [N] of inputs [N, K].

        Raises:
            FusionError: it failed, or gave something else than N finite numbers.
        """
        if not len(inputs):
            return np.zeros(0, np.float32)
        scores = self._run(inputs)
        finite = np.isfinite(scores)
        if not finite.all():
            row = int(np.argmin(finite))
            raise FusionError(
                f"the score of {_shown(inputs[row])} is {scores[row]}; expected a finite number"
            )
        return scores

    def expected_s(self, candidates: int) -> float:
        """Seconds that these candidates take, by the pace measured when the network was opened."""
        return self._fixed_s + candidates * self._per_candidate_s

    def _run(self, inputs: Floats) -> Floats:
        try:
            scores: Floats = self._session.run(self._outputs, {self._input: inputs})[0]
        except Exception as error:  # as above
            raise FusionError(f"it fails on {len(inputs)} candidates ({_first_line(error)})") from error
        if scores.shape not in ((len(inputs),), (len(inputs), 1)):
            raise FusionError(
                f"of {len(inputs)} candidates it gives scores of shape {list(scores.shape)}; "
                "expected [N] or [N, 1]"
            )
        return scores.reshape(-1)

    def _measured(self, rows: int, inputs: int) -> float:
        """The least seconds of some runs: what a busy machine adds is not the network's."""
        given = np.full((rows, inputs), 0.5, np.float32)
        took = []
        for _ in range(_TIMES):
            began = time.perf_counter()
            self._run(given)
            took.append(time.perf_counter() - began)
            if sum(took) > _TIMES * MOST_S_PER_1000:
                break  # slow beyond doubt
        return min(took)


def scorer_of(scene: SceneConfig, folder: Path) -> LearnedNetwork | None:
    """What `score` needs of a scene that a network scores, opened but not proven; None of any other.

    Args:
        scene: of a config.
        folder: of the config.

    Raises:
        FusionError: the network's file is not the one that the scene names, or cannot be opened.
    """
    if not isinstance(scene, LearnedFormula):
        return None
    try:
        return LearnedNetwork(read_network(scene, folder), len(scene.inputs))
    except FusionError as error:
        raise FusionError(f"network {scene.file}: {error}") from error


def prove(network: LearnedNetwork, inputs: Sequence[str], seed: int) -> None:
    """Try what ranking relies on; the same seed tries the same rows.

    Scores are finite wherever inputs may lie, of each candidate alone, no lower for a higher prediction in
    any of `RAISES` raises, and come in time.

    Args:
        network: the network.
        inputs: what its columns are: names of tasks, and `video_len_s`.
        seed: of the rows.

    Raises:
        PaceError: it is too slow.
        FusionError: it is not fit to rank; says on which numbers.
    """
    seconds = network.expected_s(_MANY)
    if seconds > MOST_S_PER_1000:
        raise PaceError(
            f"too slow: {_MANY} candidates take {1000 * seconds:.0f} ms; "
            f"expected at most {1000 * MOST_S_PER_1000:.0f}"
        )
    random = np.random.default_rng(seed)
    network(_edges(inputs))
    _check_alone(network, _rows(random, inputs, _ALONE))
    _check_monotone(network, inputs, random)


def _check_structure(content: bytes) -> None:
    file = io.BytesIO(content)
    try:
        foreign, loops = sorted(external_files(file)), has_inner_graphs(file)
    except ValueError as error:
        raise FusionError(f"not an ONNX file ({error})") from None
    if foreign:
        raise FusionError(f"it takes weights from {foreign[0]!r}; expected all of them inside the file")
    if loops:
        raise FusionError(
            "it has a loop or a branch (Loop, Scan, If); expected none, so that its time is known"
        )


def _names(session: ort.InferenceSession, inputs: int) -> tuple[str, list[str]]:
    """The names of the one input and of the one output, if they are such."""
    given, gives = session.get_inputs(), session.get_outputs()
    expected = f"expected one of float32 [N, {inputs}], a column for each of the scene's inputs"
    if len(given) != 1:
        raise FusionError(f"it has {len(given)} inputs; {expected}")
    shape = given[0].shape
    columns = shape[1] if len(shape) == 2 else None
    free = len(shape) == 2 and not isinstance(shape[0], int)
    if given[0].type != "tensor(float)" or not free or (isinstance(columns, int) and columns != inputs):
        dimensions = ", ".join(str(size or "?") for size in shape)
        raise FusionError(f"its input is {given[0].type} [{dimensions}]; {expected}")
    if len(gives) != 1 or gives[0].type != "tensor(float)":
        kinds = ", ".join(one.type for one in gives) or "none"
        raise FusionError(f"its outputs are {kinds}; expected one of float32, [N] or [N, 1]")
    return given[0].name, [gives[0].name]


def _rows(random: np.random.Generator, inputs: Sequence[str], count: int) -> Floats:
    """Rows over all that inputs may be: predictions uniform, tiny, nearly 1; one length in ten unknown."""
    shape = (count, len(inputs))
    tiny = _LEAST_P ** random.uniform(size=shape)
    kind = random.integers(0, 4, (count, 1))
    rows = np.choose(kind, [random.uniform(size=shape), random.uniform(size=shape), tiny, 1.0 - tiny])
    rows = rows.astype(np.float32)
    if LENGTH in inputs:
        lengths = 7200.0 ** random.uniform(size=count)  # a second to two hours
        rows[:, inputs.index(LENGTH)] = np.where(random.uniform(size=count) < 0.1, np.nan, lengths)
    return rows


def _edges(inputs: Sequence[str]) -> Floats:
    """Predictions of 0 and 1, all and each alone, with lengths at their ends."""
    width = len(inputs)
    one = np.eye(width, dtype=np.float32)
    p = np.concatenate([one, 1.0 - one, np.zeros((1, width)), np.ones((1, width)), np.full((1, width), 0.5)])
    if LENGTH not in inputs:
        return p.astype(np.float32)
    lengths = np.array([np.nan, 0.0, 30.0, _LONGEST_S])
    rows = np.repeat(p, len(lengths), axis=0).astype(np.float32)
    rows[:, inputs.index(LENGTH)] = np.tile(lengths, len(p))
    return rows


def _check_alone(network: Scorer, rows: Floats) -> None:
    together = network(rows)
    rounding = _ROUNDING * np.abs(together).max()
    alone = np.concatenate([network(rows[place : place + 1]) for place in range(len(rows))])
    for others, scores in (("alone", alone), ("in another order", network(rows[::-1].copy())[::-1])):
        apart = np.abs(scores - together)
        if apart.max() > rounding:
            row = int(np.argmax(apart))
            raise FusionError(
                f"a score depends on other candidates: that of {_shown(rows[row])} is {together[row]:.9g} "
                f"among {len(rows)} and {scores[row]:.9g} {others}; expected the same"
            )


def _check_monotone(network: Scorer, inputs: Sequence[str], random: np.random.Generator) -> None:
    before = _rows(random, inputs, RAISES)
    tasks = [column for column, name in enumerate(inputs) if name != LENGTH]
    columns = np.resize(tasks, RAISES)
    places = np.arange(RAISES)
    # Some from 0; none from so near to 1 that what it gains is less than rounding.
    low = np.minimum(before[places, columns] * (random.uniform(size=RAISES) > 0.05), 0.999)
    raised = np.choose(
        random.integers(0, 4, RAISES),
        [
            random.uniform(low, 1.0),
            low + (1.0 - low) * 10.0 ** random.uniform(-3.0, 0.0, RAISES),
            low * 10.0 ** random.uniform(0.01, 1.0, RAISES),
            np.ones(RAISES),
        ],
    )
    high = np.minimum(np.maximum(raised, np.nextafter(np.float32(low), np.float32(1))), 1.0)
    after = before.copy()
    before[places, columns], after[places, columns] = low, high
    scores, raised_scores = (network(rows).astype(np.float64) for rows in (before, after))
    # Sums on the way to a score near 0 are as large as other scores are, and so are their last digits.
    usual = float(np.median(np.abs(scores)))
    rounding = _ROUNDING * np.maximum(np.maximum(np.abs(scores), np.abs(raised_scores)), usual)
    drops = scores - raised_scores - rounding
    if drops.max() > 0.0:
        row = int(np.argmax(drops))
        column = int(columns[row])
        others = [
            (name, value)
            for place, (name, value) in enumerate(zip(inputs, before[row], strict=True))
            if place != column
        ]
        shown = ", ".join(f"{name} {value:.6g}" for name, value in others[:_MOST_SHOWN])
        raise FusionError(
            f"not monotone: {inputs[column]} raised from {before[row, column]:.6g} to "
            f"{after[row, column]:.6g} lowers the score from {scores[row]:.9g} to {raised_scores[row]:.9g}"
            f"{f' (with {shown})' if shown else ''}; expected no prediction to lower it when it rises"
        )


def _shown(row: Floats) -> str:
    more = ", ..." if len(row) > _MOST_SHOWN else ""
    return f"[{', '.join(f'{value:.6g}' for value in row[:_MOST_SHOWN])}{more}]"


def _first_line(error: Exception) -> str:
    return (str(error) or repr(error)).splitlines()[0][:300]
