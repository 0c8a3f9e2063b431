"""Ranking as a team writes it that serves the exported network by itself: what all peers share.

Rows in memory, gathered by id; one run of the standard export; the formula in numpy; a sort. Knows no server,
and needs numpy and onnxruntime alone.

Shapes: N candidates.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

__all__ = ["Ranking", "Table", "fuse", "load", "settings"]


class Table:
    """Encoded rows by key; what is not there has the defaults, which stand behind the last row."""

    def __init__(self, path: str) -> None:
        with np.load(path) as arrays:
            self.places = {key: place for place, key in enumerate(arrays["keys"].tolist())}
            self.ids, self.numeric = arrays["ids"], arrays["numeric"]
            self.video_len_s = arrays["video_len_s"]

    def find(self, keys: list[str]) -> np.ndarray:
        """Places of rows, int64 [N]."""
        missing = len(self.places)
        return np.fromiter((self.places.get(key, missing) for key in keys), np.int64, len(keys))


class Ranking:
    """The network with its rows and its formula."""

    def __init__(self, model: str, users: str, items: str, fusion: dict[str, Any], threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._inputs = [node.name for node in self._session.get_inputs()]
        self._tasks = [node.name for node in self._session.get_outputs()]
        self._users, self._items, self._fusion = Table(users), Table(items), fusion

    def rank(self, user_id: str, candidate_ids: list[str], top_k: int) -> list[dict[str, Any]]:
        """The best k, best first."""
        user, rows = self._users.find([user_id]), self._items.find(candidate_ids)
        arrays = {
            "user_ids": self._users.ids[user],
            "user_numeric": self._users.numeric[user],
            "item_ids": self._items.ids[rows],
            "item_numeric": self._items.numeric[rows],
            "row_to_user": np.zeros(len(rows), np.int64),
        }
        outputs = self._session.run(self._tasks, {name: arrays[name] for name in self._inputs})
        predictions = dict(zip(self._tasks, outputs, strict=True))
        log_score = fuse(self._fusion, predictions, self._items.video_len_s[rows])
        best = np.argsort(-log_score, kind="stable")[:top_k]
        scores = np.exp(log_score[best]).tolist()
        columns = {task: values[best].tolist() for task, values in predictions.items()}
        return [
            {
                "id": candidate_ids[place],
                "rank": rank + 1,
                "score": scores[rank],
                "predictions": {task: values[rank] for task, values in columns.items()},
            }
            for rank, place in enumerate(best.tolist())
        ]


def fuse(scene: dict[str, Any], predictions: dict[str, np.ndarray], video_len_s: np.ndarray) -> np.ndarray:
    """Log-scores, float64 [N], of a scene of formula `log_power` with a video length of kind `log`."""
    length = scene["video_len"]
    log_score = np.zeros(len(video_len_s))
    for task, term in scene["tasks"].items():
        clipped = np.clip(predictions[task].astype(np.float64), *term["clip"])
        log_score += term["weight"] * np.log(clipped + term["smoothing"])
    f = np.where(np.isnan(video_len_s), length["missing"], np.log1p(video_len_s / length["scale_s"]))
    return log_score + length["weight"] * np.log(np.maximum(f, 1e-3))


def settings() -> dict[str, Any]:
    """What the benchmark wants served: `ranking`, as `Ranking` takes it, `host` and `port`."""
    return json.loads(Path(os.environ["PEER_SETTINGS"]).read_text())


def load() -> Ranking:
    """The ranking that the benchmark wants served."""
    return Ranking(**settings()["ranking"])
