"""Trees: the reward by gradient boosting, monotone in every prediction, as the network of a learned formula.

`trees` is LightGBM's regression (Ke et al. 2017, "LightGBM: A highly efficient gradient boosting decision
tree") of the reward of who looks: a reward over looks, which counts by the looks. `lambdarank` (Burges 2010,
"From RankNet to LambdaRank to LambdaMART") orders grades of the reward in place of it; grades do not say what
a share is worth, and where rare behaviours bring much, it finds far less (docs/tuning.md has the figures).

The number of trees is chosen on users that they were not grown on. Features are float32, as served, so that
the network takes the same branches; it is proven as the service proves it. Shapes: K items shown, N
candidates, F inputs.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from model.errors import FulcrumError
from model.fusion import DEFAULT_SCENE, FusionError, LearnedFormula, LogPower, default_fusion
from model.fusion.conditions import LENGTH
from model.learned_fusion import LearnedNetwork, PaceError, prove
from training.progress import Advanced, Observer, Stage, silent
from training.tuning.outcomes import users_in_folds
from training.tuning.problem import FALLBACK, Found, Problem
from training.tuning.requests import Floats

if TYPE_CHECKING:
    import lightgbm

MOST_TREES, LEAVES = 80, 15
"""So that 500 candidates take less than a millisecond."""
GRADES = 5
"""Of rewards above 0, for `lambdarank`."""
CHECKED = 50_000
"""Items shown on which the network is compared with its trees."""
_PATIENCE, _FOLDS, _OPSET = 20, 5, 15
_LEAST_ROWS = 100
"""Of a leaf, or a thousandth of all."""
_THRESHOLDS = "threshold="
_NEAR = 1e-5
"""Of the spread of the scores, by which the network may be off."""

Inputs = npt.NDArray[np.float32]


def trees(problem: Problem, observer: Observer = silent) -> Found:
    """The regression.

    Raises:
        FulcrumError: LightGBM or onnxmltools is not installed, or the network does not score as its trees do.
    """
    return _found("trees", problem, observer)


def lambdarank(problem: Problem, observer: Observer = silent) -> Found:
    """The order of grades; raises as `trees` does."""
    return _found("lambdarank", problem, observer)


def _found(method: str, problem: Problem, observer: Observer) -> Found:
    try:
        import lightgbm  # noqa: F401
        import onnxmltools  # noqa: F401
    except ImportError as error:
        raise FulcrumError(
            f"method {method}: {error.name} is not installed; pip install 'fulcrum[tuning]'"
        ) from None
    outcomes = problem.outcomes
    inputs = [*problem.predictions.values(), outcomes.requests.video_len_s]
    columns = np.stack(inputs, axis=1).astype(np.float32)  # [N, F]
    booster = _boosted(method, problem, columns, observer)
    content = _network(booster, columns.shape[1])
    scene = LearnedFormula(
        file=f"fusion-{(checksum := hashlib.sha256(content).hexdigest())[:12]}.onnx",
        sha256=checksum,
        inputs=(*problem.tasks, LENGTH),
        fallback=FALLBACK,
        calibration=problem.calibration,
    )
    network = LearnedNetwork(content, columns.shape[1])
    value = _scored(network, columns)
    _check_same(method, value[outcomes.at[:CHECKED]], booster, columns[outcomes.at[:CHECKED]])
    doubts = (
        *_proven(network, scene, problem.seed),
        "a learned formula has no weights to explore: its log says little about other orders",
        *problem.common_doubts(value),
    )
    return Found(
        method=method,
        scene=scene,
        value=float(problem.objective.per_request(value).mean()),
        doubts=doubts,
        network=content,
        fallback=_fallback(problem),
    )


def _boosted(method: str, problem: Problem, columns: Inputs, observer: Observer) -> lightgbm.Booster:
    import lightgbm

    outcomes = problem.outcomes
    looks = problem.looks[outcomes.position]
    known = ~np.isnan(columns[outcomes.at][:, :-1]).any(axis=1)
    fold = users_in_folds(outcomes.requests.user, _FOLDS, problem.seed)[outcomes.of_request]
    settings = _settings(method, problem, int(known.sum()))

    def data(rows: Any) -> lightgbm.Dataset:
        rows = rows & known
        more: dict[str, Any] = {"label": outcomes.reward[rows] / looks[rows], "weight": looks[rows]}
        if method == "lambdarank":
            more = {"label": _grades(outcomes.reward)[rows]}
            more["group"] = np.unique(outcomes.of_request[rows], return_counts=True)[1]
        return lightgbm.Dataset(columns[outcomes.at[rows]], **more, params={"verbose": -1})

    def listen(environment: Any) -> None:
        observer(Advanced("growing trees", environment.iteration + 1, MOST_TREES, "trees"))

    observer(Stage(f"Growing trees of the reward of {int(known.sum()):,} impressions"))
    grown = lightgbm.train(
        settings,
        data(fold > 0),
        num_boost_round=MOST_TREES,
        valid_sets=[data(fold == 0)],
        callbacks=[lightgbm.early_stopping(_PATIENCE, verbose=False), listen],
    )
    count = max(grown.best_iteration, 1)
    return _in_float32(lightgbm.train(settings, data(known), num_boost_round=count))


def _in_float32(booster: lightgbm.Booster) -> lightgbm.Booster:
    """The same trees with thresholds that float32 holds, which send every float32 the same way.

    A converter rounds a threshold to the nearest, which may be the very value that it is to be below of.
    """
    import lightgbm

    def rounded(line: str) -> str:
        wide = np.array(line.removeprefix(_THRESHOLDS).split(), np.float64)
        near = wide.astype(np.float32)
        down = np.where(near > wide, np.nextafter(near, np.float32(-np.inf)), near)
        return _THRESHOLDS + " ".join(repr(float(value)) for value in down)

    lines = booster.model_to_string().splitlines()
    kept = [line for line in lines if not line.startswith("tree_sizes=")]  # in bytes, which change
    text = "\n".join(rounded(line) if line.startswith(_THRESHOLDS) else line for line in kept)
    return lightgbm.Booster(model_str=text + "\n")


def _settings(method: str, problem: Problem, rows: int) -> dict[str, Any]:
    of_method: dict[str, dict[str, Any]] = {
        "trees": {"objective": "regression"},
        "lambdarank": {"objective": "lambdarank", "metric": "ndcg", "eval_at": len(problem.looks)},
    }
    return {
        **of_method[method],
        "monotone_constraints": [1] * len(problem.tasks) + [0],
        "monotone_constraints_method": "basic",
        "learning_rate": 0.1,
        "num_leaves": LEAVES,
        "min_data_in_leaf": max(_LEAST_ROWS, rows // 1000),
        "seed": problem.seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }


def _grades(reward: Floats) -> npt.NDArray[np.int64]:
    """0 for nothing, else the quantile of rewards above 0, from 1."""
    above = reward[reward > 0.0]
    edges = np.quantile(above, np.arange(1, GRADES) / GRADES) if len(above) else np.zeros(0)
    return np.asarray(np.where(reward > 0.0, 1 + np.searchsorted(edges, reward), 0), np.int64)


def _network(booster: lightgbm.Booster, inputs: int) -> bytes:
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    model = onnxmltools.convert_lightgbm(
        booster, initial_types=[("inputs", FloatTensorType([None, inputs]))], target_opset=_OPSET
    )
    return bytes(model.SerializeToString())


def _scored(network: LearnedNetwork, columns: Inputs) -> Floats:
    """Scores [N]; NaN where a prediction is."""
    value = np.full(len(columns), np.nan)
    known = np.flatnonzero(~np.isnan(columns[:, :-1]).any(axis=1))
    for rows in np.array_split(known, len(known) // 65_536 + 1):
        value[rows] = network(columns[rows])
    return value


def _check_same(method: str, scores: Floats, booster: lightgbm.Booster, columns: Inputs) -> None:
    known = ~np.isnan(scores)
    grown = np.asarray(booster.predict(columns[known]), np.float64)
    off = np.abs(scores[known] - grown).max(initial=0.0)
    if off > _NEAR * max(float(grown.std()), 1e-9):
        raise FulcrumError(
            f"method {method}: the network is off its trees by up to {off:.2g}, where scores differ by "
            f"{grown.std():.2g}; expected the same: try another version of onnxmltools"
        )


def _proven(network: LearnedNetwork, scene: LearnedFormula, seed: int) -> tuple[str, ...]:
    try:
        prove(network, scene.inputs, seed)
    except PaceError as error:
        return (f"the network is {error}",)
    except FusionError as error:
        raise FulcrumError(f"the learned formula is not fit to rank: {error}") from None
    return ()


def _fallback(problem: Problem) -> LogPower:
    if isinstance(problem.incumbent, LogPower):
        return problem.incumbent.model_copy(update={"explore": None})
    product = default_fusion(problem.tasks, problem.means).scenes[DEFAULT_SCENE]
    assert isinstance(product, LogPower)  # noqa: S101 (what it is by its definition)
    return product
