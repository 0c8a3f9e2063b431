"""The report's folder: what it is a report of, and the runs that it holds.

    plan.json                  recipe, tasks, match, data: the same whenever the report goes on
    runs/MODEL-seedN.json      a run's record; the run is done when it is there
    runs/MODEL-seedN.npz       its predictions of the validation rows, float32 [n, T]
    report.json, report.html   what is made of them

Knows nothing about how runs come about.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from model.errors import FulcrumError
from model.files import FileLock, check_folder, replace_file
from training.report.run import Job, paths
from training.runs.differences import differences

_PLAN, _RUNS, _ROWS, _LOCK = "plan.json", "runs", ".rows", ".lock"
_NAMED = 3


class ReportFolder:
    """A folder that holds one report.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path / _LOCK)

    @property
    def runs(self) -> Path:
        """Where runs are."""
        return self.path / _RUNS

    @property
    def rows(self) -> Path:
        """Where encoded rows lie while runs are carried out."""
        return self.path / _ROWS

    def claim(self, plan: Mapping[str, Any]) -> None:
        """Make it the folder of this report, or find that it is.

        A key of `plan` that the folder's does not have yet is added to it.

        Raises:
            FulcrumError: it holds another report or something else, or another process is at work in it.
        """
        file = self.path / _PLAN
        check_folder(self.path, "report")
        if (
            self.path.is_dir()
            and not file.exists()
            and any(path.name != _LOCK for path in self.path.iterdir())
        ):
            raise FulcrumError(f"report {self.path}: it holds something else; name another folder")
        self.path.mkdir(parents=True, exist_ok=True)
        if not self._lock.take():
            raise FulcrumError(
                f"report {self.path}: another process is making it; wait for that, or name another folder"
            )
        here: dict[str, Any] = orjson.loads(orjson.dumps(plan))
        there: dict[str, Any] = orjson.loads(file.read_bytes()) if file.exists() else {}
        known = {key: value for key, value in here.items() if key in there}
        if found := list(differences({key: there[key] for key in known}, known)):
            self.release()
            more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
            raise FulcrumError(
                f"report {self.path}: it holds a report of another recipe or other data: "
                f"{'; '.join(found[:_NAMED])}{more}; name another folder"
            )
        replace_file(file, orjson.dumps({**there, **here}, option=orjson.OPT_INDENT_2))

    def release(self) -> None:
        """Let another process work in it."""
        self._lock.release()

    def record(self, job: Job) -> dict[str, Any] | None:
        """The record of a run that is done, as this job would do it; None where it is yet to be done.

        What failed is tried again, and what was stopped if there is more time now. Divergence is an outcome.
        """
        said, predicted = paths(self.runs, job.name)
        try:
            found: dict[str, Any] = orjson.loads(said.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return None
        if found["settings"] != orjson.loads(orjson.dumps(job.settings)):
            return None
        if found["status"] == "failed" or (found["status"] == "stopped" and job.minutes > found["minutes"]):
            return None
        return found if found["status"] != "finished" or predicted.exists() else None

    def predictions(self, name: str) -> npt.NDArray[np.float32]:
        """Of a finished run: [n, T]."""
        with np.load(paths(self.runs, name)[1], allow_pickle=False) as file:
            found: npt.NDArray[np.float32] = file["predictions"]
        return found
