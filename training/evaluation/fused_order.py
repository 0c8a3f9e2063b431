"""The fused order: how well a score orders the judged rows within groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.errors import FulcrumError, listed
from model.fusion import DEFAULT_SCENE, FusionConfig, check_tasks, load_fusion, score, version
from model.learned_fusion import scorer_of
from training.evaluation.judged import Judged, Predictions
from training.metrics.ndcg import GroupedNdcg
from training.metrics.reward import check_expression, not_negative
from training.metrics.task_metrics import auc, grouped_auc
from training.preparation.worth import reward_of, worth_of

_RANKS = 10


@dataclass(frozen=True)
class FusedScore:
    """The score of a fusion config, and what its order is worth.

    Attributes:
        file: the config.
        scene: of it.
        reward: what the order is to collect, over task names and columns; the recipe's where None.
    """

    file: Path
    scene: str = DEFAULT_SCENE
    reward: str | None = None

    def read_config(self, tasks: Sequence[str]) -> FusionConfig:
        """The config, which has the scene.

        Raises:
            FulcrumError: it cannot be used, lacks the scene or weights a task that is not among `tasks`, the
                scene has conditions on requests, or the reward is no expression.
        """
        if self.reward is not None:
            check_expression(self.reward)
        config = load_fusion(self.file)
        check_tasks(config, tasks)
        if self.scene not in config.scenes:
            raise FulcrumError(f"scene {self.scene!r}: {self.file} has the scenes {', '.join(config.scenes)}")
        named = config.scenes[self.scene].names_of_conditions()
        if named:
            raise FulcrumError(
                f"scene {self.scene!r} of {self.file} has conditions on {listed(sorted(named))}; "
                "one order is judged here: name a scene without, or see `fulcrum fusion diff`"
            )
        return config


class FusedOrder:
    """How well a fused score orders the judged rows: each behaviour, and a reward within groups."""

    def __init__(self, judged: Judged, fused: FusedScore, config: FusionConfig) -> None:
        self.scene = config.scenes[fused.scene]
        self._scorer = scorer_of(self.scene, fused.file.parent)
        self._config = {"version": version(config), "source": str(fused.file), "scene": fused.scene}
        self._judged = judged
        self._reward = reward_of(judged.schema, fused.reward)
        encoded = judged.encoded
        labels = {
            task.name: np.where(judged.known(place), encoded.labels[:, place], np.nan).astype(np.float64)
            for place, task in enumerate(judged.schema.tasks)
        }
        frame = judged.log.frame[judged.rows]
        worth = not_negative(self._reward, worth_of(self._reward, frame, labels, judged.video_len_s))
        self._known = np.isfinite(worth)
        self._mean_reward = float(worth[self._known].mean()) if self._known.any() else float("nan")
        groups, users = encoded.group[self._known], encoded.user_number[self._known]
        self.ndcg = GroupedNdcg(worth[self._known], groups, users, k=_RANKS)

    def score(self, predictions: Predictions) -> npt.NDArray[np.float64]:
        """What orders the judged rows [N], each within its group."""
        judged = self._judged
        lists = judged.encoded.group
        return score(self.scene, predictions, judged.video_len_s, lists=lists, scorer=self._scorer).order

    def of(self, scores: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
        """NDCG of an order of the judged rows in each group."""
        return self.ndcg.of(scores[self._known])

    def report(self, predictions: Predictions) -> dict[str, Any]:
        """The part `fusion` of the report."""
        judged, encoded = self._judged, self._judged.encoded
        fused = self.score(predictions)
        orders = {}
        for place, task in enumerate(judged.schema.tasks):
            if task.type != "binary":
                continue
            inside = encoded.masks[:, place]
            within = grouped_auc(fused[inside], encoded.labels[inside, place], encoded.group[inside])
            orders[task.name] = {
                "auc": auc(fused[inside], encoded.labels[inside, place]),
                "gauc": within.auc,
                "gauc_coverage": within.coverage,
            }
        ndcg, values = self.ndcg, self.of(fused)
        tasks = {}
        for name, prediction in predictions.items():
            alone = self.of(prediction)
            gain = ndcg.compare(values, alone)
            tasks[name] = {
                "ndcg": ndcg.mean(alone),
                "interval": ndcg.interval(alone),
                "fused_less_this": {
                    "difference": gain.difference,
                    "interval": gain.interval,
                    "verdict": gain.verdict,
                },
            }
        return {
            **self._config,
            "auc_of_score": orders,
            "ndcg": {
                "reward": self._reward,
                "mean_reward": self._mean_reward,
                "k": _RANKS,
                "group": judged.group,
                "groups": ndcg.groups,
                "rows": ndcg.rows,
                "coverage": ndcg.rows / len(fused),
                "fused": {"ndcg": ndcg.mean(values), "interval": ndcg.interval(values)},
                "tasks": tasks,
                "random": ndcg.of_chance(),
            },
        }
