"""What methods found, in a folder, so that a search that was stopped goes on. Knows no method.

A file per method and formula; one that was found for other requests or settings is not taken.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import numpy.typing as npt
import orjson
from pydantic import TypeAdapter, ValidationError

from model.files import replace_file
from model.fusion import LogPower, Scene
from training.tuning.outcomes import Outcomes
from training.tuning.problem import Found, Tried

_SCENE: TypeAdapter[Scene] = TypeAdapter(Scene)


class FoundFolder:
    """A folder of what was found.

    Args:
        path: that is made.
        outcomes: that are searched.
        settings: all else that decides what is found.
    """

    def __init__(self, path: Path, outcomes: Outcomes, settings: str) -> None:
        self._path = path
        digest = hashlib.sha256(settings.encode())
        requests = outcomes.requests
        digest.update("\n".join(map(str, requests.ids.tolist())).encode())
        arrays: list[npt.NDArray[Any]] = [outcomes.at, outcomes.reward, requests.item]
        for values in (*arrays, *requests.predictions.values()):
            digest.update(values.tobytes())
        self._key = digest.hexdigest()

    def read(self, method: str, formula: str) -> Found | None:
        """What was found; None where nothing was, or for something else."""
        try:
            said = orjson.loads(self._file(method, formula).read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return None
        if not isinstance(said, dict) or said.get("key") != self._key:
            return None
        try:
            return _read(said)
        except (KeyError, TypeError, ValidationError):
            return None

    def write(self, method: str, formula: str, found: Found) -> None:
        """Remember it."""
        self._path.mkdir(parents=True, exist_ok=True)
        document = {"key": self._key, **_written(found)}
        replace_file(self._file(method, formula), orjson.dumps(document, option=orjson.OPT_INDENT_2))

    def _file(self, method: str, formula: str) -> Path:
        return self._path / f"{method}-{formula}.json"


def _written(found: Found) -> dict[str, Any]:
    return {
        "method": found.method,
        "scene": found.scene.model_dump(mode="json"),
        "value": found.value,
        "doubts": list(found.doubts),
        "network": None if found.network is None else base64.b64encode(found.network).decode(),
        "fallback": None if found.fallback is None else found.fallback.model_dump(mode="json"),
        "front": [
            {"scene": one.scene.model_dump(mode="json"), "value": one.value, "rate": one.rate}
            for one in found.front
        ],
    }


def _read(said: dict[str, Any]) -> Found:
    network, fallback = said["network"], said["fallback"]
    return Found(
        method=said["method"],
        scene=_SCENE.validate_python(said["scene"]),
        value=said["value"],
        doubts=tuple(said["doubts"]),
        network=None if network is None else base64.b64decode(network),
        fallback=None if fallback is None else LogPower.model_validate(fallback),
        front=tuple(
            Tried(_SCENE.validate_python(one["scene"]), one["value"], one["rate"]) for one in said["front"]
        ),
    )
