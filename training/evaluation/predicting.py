"""Predicting: a log's predictions by the exported network, as the service makes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.bundle import Bundle
from model.bundle.inputs import NetworkInputs
from model.bundle.session import NetworkSession
from model.cores import available_cores
from training.evaluation.judged import Predictions
from training.progress import Advanced, Observer, silent
from training.rows.batches import EncodedLog

_CHUNK = 4096


def predict_log(
    session: NetworkSession, rows: EncodedLog, observer: Observer = silent
) -> dict[str, npt.NDArray[np.float32]]:
    """Predictions by task, float32 [rows] each."""
    parts: dict[str, list[npt.NDArray[np.float32]]] = {task: [] for task in session.tasks}
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        user, item = rows.user.take(part), rows.item.take(part)
        for task, values in session.predict(NetworkInputs(user, item, np.arange(len(item)))).items():
            parts[task].append(values)
        observer(Advanced("predicting", start + len(item), len(rows), "rows"))
    return {task: np.concatenate(values) for task, values in parts.items()}


def named(bundle: Bundle) -> dict[str, str]:
    """A bundle in a report."""
    return {"name": bundle.manifest.name, "version": bundle.version, "path": str(bundle.path)}


def bundle_predictions(network: Path, rows: EncodedLog, observer: Observer = silent) -> Predictions:
    """Predictions by task of a bundle's network, on all cores."""
    return predict_log(NetworkSession(network, threads=available_cores()), rows, observer)
