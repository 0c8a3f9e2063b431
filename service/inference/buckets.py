"""Buckets: a network run at a few fixed numbers of rows, on buffers made once, where its provider computes.

A provider that chooses kernels or plans memory for each shape does so once a bucket, and no call allocates.
Rows do not depend on each other, so that those which fill a bucket up change nothing. Knows no requests.

Shapes: R user rows, N candidates, B >= N rows of the bucket.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from model.bundle.inputs import NetworkInputs
from model.bundle.session import NetworkSession, ProviderChoice

_Arrays = Mapping[str, npt.NDArray[np.generic]]
_Shapes = tuple[tuple[int, ...], ...]


class BucketedSession(NetworkSession):
    """A session whose calls are padded to the next bucket and bound to its buffers; one call at a time.

    Args:
        path: the ONNX file.
        providers: as `NetworkSession` takes them.
        threads: of one inference.
        buckets: numbers of rows, ascending; more rows than the last are padded to a multiple of it.
        device: where the buffers lie.
    """

    def __init__(
        self,
        path: Path,
        providers: Sequence[ProviderChoice],
        threads: int,
        buckets: Sequence[int],
        device: str,
    ) -> None:
        super().__init__(path, providers, threads)
        self._buckets = buckets
        self._device = device
        self._bound: dict[_Shapes, _Bound] = {}
        self._turn = threading.Lock()

    def predict(self, inputs: NetworkInputs) -> dict[str, npt.NDArray[np.float32]]:
        """Predictions by task name, float32 [N] each. Safe to call from many threads."""
        rows = len(inputs.row_to_user)
        if not rows:
            return super().predict(inputs)
        padded = _padded(inputs, bucket_of(rows, self._buckets)).arrays()
        arrays = {name: padded[name] for name in self._inputs}
        shapes = tuple(array.shape for array in arrays.values())
        with self._turn:
            bound = self._bound.get(shapes)
            if bound is None:
                bound = self._bound[shapes] = _Bound(self._session, arrays, self.tasks, self._device)
            found = bound.run(arrays)
        return {task: predictions[:rows] for task, predictions in found.items()}


class _Bound:
    """The buffers of one shape of inputs."""

    def __init__(
        self, session: ort.InferenceSession, arrays: _Arrays, tasks: Sequence[str], device: str
    ) -> None:
        rows = len(arrays["row_to_user"])
        self._session = session
        self._binding = session.io_binding()
        self._inputs = {
            # On the CPU, a value is a view of the array that it was made of.
            name: ort.OrtValue.ortvalue_from_numpy(np.array(array), device, 0)
            for name, array in arrays.items()
        }
        self._outputs = {
            task: ort.OrtValue.ortvalue_from_shape_and_type([rows], np.float32, device, 0) for task in tasks
        }
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for task, value in self._outputs.items():
            self._binding.bind_ortvalue_output(task, value)

    def run(self, arrays: _Arrays) -> dict[str, npt.NDArray[np.float32]]:
        """Predictions by task [B], the caller's own."""
        for name, value in self._inputs.items():
            value.update_inplace(np.ascontiguousarray(arrays[name]))
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()
        return {task: np.array(value.numpy()) for task, value in self._outputs.items()}


def bucket_of(rows: int, buckets: Sequence[int]) -> int:
    """The least bucket that holds so many rows."""
    most = buckets[-1]
    return next((size for size in buckets if size >= rows), -(-rows // most) * most)


def _padded(inputs: NetworkInputs, size: int) -> NetworkInputs:
    """Filled up with the last candidate, whose ids are surely in range."""
    rows = len(inputs.row_to_user)
    if rows == size:
        return inputs
    places = np.minimum(np.arange(size), rows - 1)  # [B]
    return NetworkInputs(inputs.user, inputs.item.take(places), inputs.row_to_user[places])
