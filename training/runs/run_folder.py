"""Run folder: what one training leaves behind, so that it can be told apart, looked at and repeated.

    recipe.json      the whole recipe, defaults filled in
    run.json         seed, data fingerprint, environment, when
    metrics.jsonl    one object an epoch
    best.pt          weights of the best epoch
    checkpoint.pt    all that it takes to go on after a crash; of a finished training its outcome

Knows nothing about how training goes, nor what a checkpoint holds.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import torch
from pydantic import ValidationError

from model.cores import available_cores
from model.errors import FulcrumError
from model.files import FileLock, check_folder, fresh_file, replace_file
from training.fitting.device import device_name, training_device
from training.recipe import Recipe
from training.runs.differences import differences
from training.runs.environment import environment

_RUN, _RECIPE, _METRICS = "run.json", "recipe.json", "metrics.jsonl"
_BEST, _CHECKPOINT = "best.pt", "checkpoint.pt"
_DECISIVE = ("fulcrum", "torch", "numpy", "polars", "platform", "device", "threads")
_OF_NO_OUTCOME = ("checkpoint_seconds", "gate", "tensorboard")
_NAMED = 3


def check_startable(path: Path, recipe: Recipe, *, resume: bool, started_from: str | None = None) -> None:
    """Refuse a run folder before any data is read.

    Raises:
        FulcrumError: it cannot be a folder, or holds a run that is not to be resumed, is of another recipe or
            started from another bundle.
    """
    check_folder(path, "the run folder")
    if not (path / _RUN).exists():
        return
    if not resume:
        raise FulcrumError(f"the run folder {path} holds a run already; name another one, or resume it")
    try:
        started = Recipe.model_validate_json((path / _RECIPE).read_bytes())
    except (OSError, ValidationError) as error:
        raise FulcrumError(f"the run folder {path}: {_RECIPE} cannot be read; start a new run") from error
    found = list(differences(_decisive(started), _decisive(recipe)))
    if found:
        more = f" (and {len(found) - _NAMED} more)" if len(found) > _NAMED else ""
        raise FulcrumError(
            f"the run in {path} was started with another recipe: "
            f"{'; '.join(found[:_NAMED])}{more}. Give the same recipe, or start a new run"
        )
    before = _read_run(path).get("started_from")
    if before != started_from:
        raise FulcrumError(
            f"the run in {path} started from {before or 'no bundle'}, not from {started_from or 'none'}. "
            "Start from the same bundle, or start a new run"
        )


def _read_run(path: Path) -> dict[str, Any]:
    try:
        run: dict[str, Any] = orjson.loads((path / _RUN).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise FulcrumError(f"the run folder {path}: {_RUN} cannot be read; start a new run") from error
    return run


class RunFolder:
    """One run's folder, which one process at a time may write.

    Attributes:
        path: the folder.
        started_from: version of the bundle that the training goes on from, None for none.
        resumed: whether it held this run already.
        changes: what was otherwise when the run began and may move its last bits, for people.

    Args:
        path: the folder.
        recipe: what is trained.
        data_fingerprint: on what.
        resume: whether to go on with the run that is there.
        started_from: the attribute.

    Raises:
        FulcrumError: the folder holds a run that is not to be resumed, one of another recipe, bundle or of
            other data, or one that another process is at.
    """

    def __init__(
        self,
        path: Path,
        recipe: Recipe,
        data_fingerprint: str,
        *,
        resume: bool = False,
        started_from: str | None = None,
    ) -> None:
        check_folder(path, "the run folder")
        path.mkdir(parents=True, exist_ok=True)
        self.path, self.started_from = path, started_from
        self.changes: list[str] = []
        lock = FileLock(path)
        if not lock.take():
            raise FulcrumError(
                f"the run folder {path}: another process is at this run; wait for it or end it"
            )
        self.close = weakref.finalize(self, lock.release)
        try:
            for left in path.glob(".*.pt-*"):  # by a process that was killed while it saved
                left.unlink()
            check_startable(path, recipe, resume=resume, started_from=started_from)
            self.resumed = (path / _RUN).exists()
            self._open(recipe, data_fingerprint, started_from)
        except BaseException:
            self.close()
            raise

    def _open(self, recipe: Recipe, data_fingerprint: str, started_from: str | None) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        surroundings = environment() | {
            "device": device_name(training_device(recipe.training)),
            "threads": str(recipe.training.threads or available_cores()),
        }
        if not self.resumed:
            # Whatever lies here belongs to no run, and must not be taken for this one's.
            for name in (_METRICS, _BEST, _CHECKPOINT):
                (self.path / name).unlink(missing_ok=True)
            self._write(_RECIPE, recipe.model_dump(mode="json"))
            run: dict[str, Any] = {
                "recipe": recipe.name,
                "seed": recipe.training.seed,
                "data_fingerprint": data_fingerprint,
                "started_from": started_from,
                "started": now,
                "environment": surroundings,
            }
            self._write(_RUN, run)
            return
        run = _read_run(self.path)
        if run["data_fingerprint"] != data_fingerprint:
            raise FulcrumError(
                f"the run in {self.path} was started on other data: "
                f"{run['data_fingerprint']} there, {data_fingerprint} here. "
                "Give the same data, or start a new run"
            )
        before = {"device": "cpu"} | run["environment"]
        self.changes = list(
            differences(
                {key: before.get(key) for key in _DECISIVE}, {key: surroundings[key] for key in _DECISIVE}
            )
        )
        self._write(_RUN, run | {"resumed": [*run.get("resumed", []), now]})

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def record(self, epoch: Mapping[str, Any]) -> None:
        """Append one epoch to the metrics."""
        with (self.path / _METRICS).open("ab") as file:
            file.write(orjson.dumps(epoch, option=orjson.OPT_APPEND_NEWLINE))

    def keep(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Keep these weights as the best so far; a reader never sees half of them."""
        self._save(_BEST, weights)

    def checkpoint(self, state: Mapping[str, Any]) -> None:
        """Keep a state of the training, tensors and plain values, in place of the former one."""
        self._save(_CHECKPOINT, state)

    def last_checkpoint(self) -> dict[str, Any] | None:
        """The state that was kept last, None where there is none yet.

        Raises:
            FulcrumError: it cannot be read.
        """
        path = self.path / _CHECKPOINT
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever a damaged file makes torch, zipfile or pickle say
            raise FulcrumError(f"{path} cannot be read; start a new run") from error
        return state

    def return_to(self, epochs: Sequence[Mapping[str, Any]], weights: Mapping[str, torch.Tensor]) -> None:
        """Let the folder hold these epochs and best weights, and nothing of later ones: they come again."""
        lines = b"".join(orjson.dumps(epoch, option=orjson.OPT_APPEND_NEWLINE) for epoch in epochs)
        replace_file(self.path / _METRICS, lines)
        if weights:
            self.keep(weights)
        else:
            (self.path / _BEST).unlink(missing_ok=True)

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        replace_file(self.path / name, orjson.dumps(content, option=orjson.OPT_INDENT_2))

    def _save(self, name: str, content: Mapping[str, Any]) -> None:
        with fresh_file(self.path / name, durable=True) as fresh, fresh.open("wb") as file:
            torch.save(dict(content), file)


def _decisive(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe decides the outcome of its training."""
    document = recipe.model_dump(mode="json")
    for name in _OF_NO_OUTCOME:
        del document["training"][name]
    return document
