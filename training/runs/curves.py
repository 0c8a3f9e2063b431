"""Curves: what a training does, step by step and epoch by epoch, as TensorBoard shows it.

    RUN/tensorboard/steps     loss, learning rate, rows a second, over steps
    RUN/tensorboard/epochs    losses and weights of the tasks, validation metrics, over epochs

A resumed run goes on where its checkpoint was made: what was written after that is taken back, so that every
curve is that of a run that never stopped. Listens to the events of a training, and knows nothing of how the
numbers come about.
"""

from __future__ import annotations

import math
import shutil
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from model.errors import FulcrumError
from training.fitting.trainer import CheckpointDue, EpochDone, EpochReport, StepDone
from training.progress import Event

_FOLDER = "tensorboard"
_POINTS = 200
_METRICS = ("auc", "gauc", "logloss", "mse", "calibration")


def check_installed() -> None:
    """Refuse to write curves without the package that writes them."""
    if find_spec("tensorboard") is None:
        raise FulcrumError(
            "training.tensorboard: the package tensorboard is not installed: "
            "pip install '.[tensorboard]' -c constraints.txt"
        )


class Curves:
    """An observer of a training that writes one run's curves.

    Args:
        run: the run's folder.
        steps_an_epoch: of which about 200 are points of the curves over steps.
        step: steps done before.
        epochs: epochs done before.
    """

    def __init__(self, run: Path, steps_an_epoch: int, *, step: int = 0, epochs: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = run / _FOLDER
        if not step:
            shutil.rmtree(folder, ignore_errors=True)
        self._every = max(1, steps_an_epoch // _POINTS)
        # What lies beyond the checkpoint comes again; TensorBoard drops it at these marks.
        self._steps = SummaryWriter(str(folder / "steps"), purge_step=step + 1)
        self._epochs = SummaryWriter(str(folder / "epochs"), purge_step=epochs + 1)
        self._rows, self._since = 0, time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in (self._steps, self._epochs):
            writer.close()

    def __call__(self, event: Event) -> None:
        """Write what happened; all of it is in the files before a checkpoint is made."""
        match event:
            case StepDone():
                self._step(event)
            case EpochDone(report):
                self._epoch(report)
            case CheckpointDue():
                for writer in (self._steps, self._epochs):
                    writer.flush()

    def _step(self, done: StepDone) -> None:
        self._rows += done.batch
        if done.step % self._every:
            return
        now = time.monotonic()
        rate = self._rows / max(now - self._since, 1e-9)
        self._rows, self._since = 0, now
        self._write(self._steps, "loss", done.loss, done.step)
        self._write(self._steps, "learning_rate", done.learning_rate, done.step)
        self._write(self._steps, "rows_per_second", rate, done.step)

    def _epoch(self, report: EpochReport) -> None:
        self._write(self._epochs, "loss", report.loss, report.epoch)
        for name, loss in report.task_losses.items():
            self._write(self._epochs, f"task_loss/{name}", loss, report.epoch)
            self._write(self._epochs, f"task_weight/{name}", report.loss_weights[name], report.epoch)
        for name, metrics in report.validation.items():
            for metric in _METRICS:
                if metric in metrics:
                    self._write(self._epochs, f"validation/{name}.{metric}", metrics[metric], report.epoch)

    @staticmethod
    def _write(writer: Any, name: str, value: float, step: int) -> None:
        if not math.isnan(value):
            writer.add_scalar(name, value, step)
