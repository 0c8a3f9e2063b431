"""Sample: requests that were ranked, with the predictions of their candidates, as bytes.

Holds what any fusion config takes, so that a request can be ranked again without its network. Knows no
configs and no workers.

Shapes: R requests, C candidates of all of them, T tasks.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

MOST_REQUESTS = 300
"""Of a sample."""
MOST_CANDIDATES = 200_000
"""Of all requests of a sample: some 10 MiB with their ids."""


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One request, its candidates that were scored.

    Attributes:
        time_ms: Unix time of its answer, milliseconds.
        bundle: version of the bundle that predicted.
        tasks: names, in the order of the predictions.
        scene: that was asked for.
        said: JSON of its context, and of what it said of its user.
        ids: JSON list of the candidates' ids [S].
        predictions: float32 [T, S].
        video_len_s: seconds, NaN where unknown [S].
        default: whether it was scored without stored features of the user or of the candidate [S].
    """

    time_ms: int
    bundle: str
    tasks: tuple[str, ...]
    scene: str
    said: bytes
    ids: bytes
    predictions: npt.NDArray[np.float32]
    video_len_s: npt.NDArray[np.float64]
    default: npt.NDArray[np.bool_]

    @property
    def candidates(self) -> int:
        """S."""
        return len(self.default)

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about."""
        arrays = self.predictions.nbytes + self.video_len_s.nbytes + self.default.nbytes
        return arrays + len(self.said) + len(self.ids) + 500


@dataclass(frozen=True)
class Sample:
    """Requests, the newest first.

    Attributes:
        name: of the sample.
        made_ms: Unix time at which it was made, milliseconds.
        bundle: version of the bundle that predicted all of it.
        tasks: names [T].
        scenes: that requests asked for [R].
        said: JSON of what each said, see `Record` [R].
        ids: JSON of each one's candidates [R].
        times_ms: of each answer [R].
        starts: of each request's candidates among all, and the end of the last [R + 1].
        predictions: float32 [T, C].
        video_len_s: [C].
        default: [C].
    """

    name: str
    made_ms: int
    bundle: str
    tasks: tuple[str, ...]
    scenes: Sequence[str]
    said: Sequence[bytes]
    ids: Sequence[bytes]
    times_ms: Sequence[int]
    starts: npt.NDArray[np.int64]
    predictions: npt.NDArray[np.float32]
    video_len_s: npt.NDArray[np.float64]
    default: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, name: str, made_ms: int, records: Sequence[Record]) -> Sample:
        """A sample of one bundle's records, of at least one."""
        first = records[0]
        return cls(
            name,
            made_ms,
            first.bundle,
            first.tasks,
            [record.scene for record in records],
            [record.said for record in records],
            [record.ids for record in records],
            [record.time_ms for record in records],
            np.cumsum([0, *(record.candidates for record in records)]),
            np.concatenate([record.predictions for record in records], axis=1),
            np.concatenate([record.video_len_s for record in records]),
            np.concatenate([record.default for record in records]),
        )

    @cached_property
    def records(self) -> list[Record]:
        """Its requests one by one; their arrays are views."""
        return [
            Record(time_ms, self.bundle, self.tasks, scene, said, ids, *self._arrays(start, stop))
            for time_ms, scene, said, ids, start, stop in zip(
                self.times_ms,
                self.scenes,
                self.said,
                self.ids,
                self.starts[:-1].tolist(),
                self.starts[1:].tolist(),
                strict=True,
            )
        ]

    def _arrays(self, start: int, stop: int) -> tuple[Any, Any, Any]:
        return self.predictions[:, start:stop], self.video_len_s[start:stop], self.default[start:stop]

    def to_bytes(self) -> bytes:
        """What `read` takes."""
        texts = [*self.said, *self.ids]
        head = {
            "name": self.name,
            "made_ms": self.made_ms,
            "bundle": self.bundle,
            "tasks": self.tasks,
            "scenes": self.scenes,
            "times_ms": self.times_ms,
        }
        file = io.BytesIO()
        np.savez(
            file,
            head=np.frombuffer(orjson.dumps(head), np.uint8),
            texts=np.frombuffer(b"".join(texts), np.uint8),
            ends=np.cumsum([len(text) for text in texts], dtype=np.int64),
            starts=self.starts,
            predictions=self.predictions,
            video_len_s=self.video_len_s,
            default=self.default,
        )
        return file.getvalue()


def read_sample(source: Path | bytes) -> Sample:
    """A sample of a file, or of `Sample.to_bytes`.

    Raises:
        OSError: there is no such file.
        ValueError: it holds something else.
    """
    with np.load(io.BytesIO(source) if isinstance(source, bytes) else source, allow_pickle=False) as file:
        head = orjson.loads(file["head"].tobytes())
        texts, ends = file["texts"].tobytes(), file["ends"].tolist()
        parts = [texts[start:stop] for start, stop in zip([0, *ends], ends, strict=False)]
        count = len(head["scenes"])
        return Sample(
            head["name"],
            head["made_ms"],
            head["bundle"],
            tuple(head["tasks"]),
            head["scenes"],
            parts[:count],
            parts[count:],
            head["times_ms"],
            file["starts"],
            file["predictions"],
            file["video_len_s"],
            file["default"],
        )


def newest(records: Sequence[Record], bundle: str) -> list[Record]:
    """The newest of a bundle's records that fit into a sample, the newest first."""
    found: list[Record] = []
    candidates = 0
    for record in sorted(records, key=lambda one: one.time_ms, reverse=True):
        if record.bundle != bundle or (found and record.tasks != found[0].tasks):
            continue
        candidates += record.candidates
        if len(found) == MOST_REQUESTS or candidates > MOST_CANDIDATES:
            break
        found.append(record)
    return found
