"""The most that one thread of this core multiplies: float32 GEMM by whoever is the fastest at it.

A process of its own (`python -m benchmarks.serving.peak`), told by its environment to use one thread, that
prints GFLOP/s by library.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper

SIZES = (512, 1024, 2048)
REPETITIONS = 12


def main() -> None:
    """Measure by turns and print."""
    torch.set_num_threads(1)
    best: dict[str, float] = {}
    for size in SIZES:
        left, right = (np.random.default_rng(seed).random((size, size), np.float32) for seed in range(2))
        contenders = {"onnxruntime": _onnxruntime(left, right), "BLAS": _blas(left, right)}
        contenders["oneDNN"] = _onednn(left, right)
        for _ in range(REPETITIONS):
            for name, multiply in contenders.items():
                began = time.perf_counter()
                multiply()
                rate = 2 * size**3 / (time.perf_counter() - began) / 1e9
                best[name] = max(best.get(name, 0.0), rate)
    print(json.dumps(best))


def _onnxruntime(left: np.ndarray, right: np.ndarray) -> Callable[[], object]:
    node = helper.make_node("MatMul", ["left", "right"], ["product"])
    inputs = [helper.make_tensor_value_info("left", TensorProto.FLOAT, left.shape)]
    outputs = [helper.make_tensor_value_info("product", TensorProto.FLOAT, left.shape)]
    graph = helper.make_graph([node], "peak", inputs, outputs, [numpy_helper.from_array(right, "right")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = min(model.ir_version, onnx.IR_VERSION, 10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"left": left})


def _blas(left: np.ndarray, right: np.ndarray) -> Callable[[], object]:
    out = np.empty_like(left)
    return lambda: np.matmul(left, right, out=out)


def _onednn(left: np.ndarray, right: np.ndarray) -> Callable[[], object]:
    one, other, out = torch.from_numpy(left), torch.from_numpy(right), torch.empty(left.shape)
    return lambda: torch.mm(one, other, out=out)


if __name__ == "__main__":
    main()
