"""Export: a trained network to ONNX and into a bundle, which exists only if onnxruntime agrees with torch.

Knows nothing about how the network was trained.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from model.bundle import (
    ENCODER,
    FUSION,
    NETWORK,
    NETWORK_DATA,
    SAMPLE,
    SCHEMA,
    WEIGHTS,
    Manifest,
    Sample,
    write_manifest,
)
from model.bundle.inputs import INPUTS, NetworkInputs
from model.bundle.session import NetworkSession
from model.encoding import Encoder
from model.errors import FulcrumError
from model.files import check_folder, fresh_folder
from model.fusion import canonical_json, default_fusion
from model.network.network import RankingNetwork
from training.export.lowering import lower
from training.rows.batches import EncodedLog
from training.runs.environment import environment
from training.runs.warm_start import kept_weights

PARITY_ROWS = (1, 7, 500, 4096)
PARITY_TOLERANCE = 1e-5
_OPSET = 20
_LARGE_BYTES = 64 << 20
_SAMPLE_ROWS = 64


def write_bundle(
    folder: Path,
    *,
    name: str,
    network: RankingNetwork,
    encoder: Encoder,
    rows: EncodedLog,
    provenance: Mapping[str, Any],
) -> Manifest:
    """Export into `folder`, which appears whole or not at all; a bundle that stood there is replaced.

    Args:
        folder: the bundle to make.
        name: for people.
        network: trained.
        encoder: fitted; its schema goes into the bundle.
        rows: encoded rows to compare torch and onnxruntime on.
        provenance: the manifest's network, training, data, metrics and example.

    Raises:
        FulcrumError: onnxruntime and torch differ, or something else stands at `folder`.
    """
    check_replaceable(folder)
    with fresh_folder(folder) as fresh:
        export_graph(network, fresh / NETWORK)
        parity = _check_parity(network, fresh / NETWORK, rows)
        schema = encoder.schema
        (fresh / SCHEMA).write_text(schema.model_dump_json(indent=2), encoding="utf-8")
        (fresh / ENCODER).write_bytes(encoder.to_json())
        (fresh / FUSION).write_bytes(canonical_json(default_fusion(schema.task_names, _means(provenance))))
        # By name and not from the graph, whose initialisers are what the exporter's optimizer made of them.
        np.savez(fresh / WEIGHTS, allow_pickle=False, **kept_weights(network))
        inputs = _inputs(rows, _SAMPLE_ROWS, users=4)
        Sample(inputs, _torch_predictions(network, inputs)).save(fresh / SAMPLE)
        return write_manifest(
            fresh,
            name=name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            tasks=[{"name": head.name, "type": head.kind, "bounds": head.bounds} for head in network.heads],
            encoder_fingerprint=encoder.fingerprint,
            parity=parity,
            environment=environment(),
            **provenance,
        )


def _means(provenance: Mapping[str, Any]) -> dict[str, float]:
    """Mean validation label by task, where there is one."""
    found = {task: metrics.get("mean_label") for task, metrics in provenance.get("metrics", {}).items()}
    return {task: mean for task, mean in found.items() if mean is not None}


def check_replaceable(folder: Path) -> None:
    """Refuse to write a bundle over anything but a bundle or an empty folder, or where none can be made."""
    check_folder(folder.absolute().parent, f"the bundle {folder} is written in")
    if folder.exists() and not (folder / "manifest.json").is_file():
        if folder.is_dir() and not any(folder.iterdir()):
            return
        raise FulcrumError(f"{folder} holds something else than a bundle; name another folder")


class _Served(nn.Module):
    """The network as the graph has it: inputs without columns left out, one output a task."""

    def __init__(self, network: RankingNetwork, inputs: list[str]) -> None:
        super().__init__()
        self.network = network
        self.inputs = inputs

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(self.inputs, arrays, strict=True))
        for name in INPUTS:
            if name not in given:
                given[name] = _without_columns(name, given)
        return tuple(self.network.predictions(**given).unbind(1))


def _without_columns(name: str, given: Mapping[str, Tensor]) -> Tensor:
    """An input of no columns, with as many rows as its side has."""
    dtype = torch.int64 if name.endswith("ids") else torch.float32
    side = name.partition("_")[0]
    rows = next((array.shape[0] for other, array in given.items() if other.startswith(side)), None)
    if rows is None:
        rows = given["row_to_user"].shape[0] if side == "item" else 1
    return torch.zeros((rows, 0), dtype=dtype)


def export_graph(network: RankingNetwork, path: Path, *, lowered: bool = True) -> None:
    """Write the network as ONNX, lowered for ranking or as torch exports it."""
    network.eval()
    example = {
        "user_ids": torch.zeros((2, network.user.spec.id_columns), dtype=torch.int64),
        "user_numeric": torch.zeros((2, network.user.spec.numeric)),
        "item_ids": torch.zeros((3, network.item.spec.id_columns), dtype=torch.int64),
        "item_numeric": torch.zeros((3, network.item.spec.numeric)),
        "row_to_user": torch.tensor([0, 1, 1]),
    }
    present = {name: array for name, array in example.items() if array.ndim == 1 or array.shape[1]}
    dynamic = ({0: torch.export.Dim.DYNAMIC},) * len(present)
    with _quiet():
        program = torch.onnx.export(
            _Served(network, list(present)),
            tuple(present.values()),
            dynamo=True,
            opset_version=_OPSET,
            input_names=list(present),
            output_names=[head.name for head in network.heads],
            dynamic_shapes=(dynamic,),
        )
    if program is None:
        raise FulcrumError("torch exported no ONNX program")
    proto = program.model_proto
    if lowered:
        lower(proto.graph, network.user.width)
    _forget_origins(proto.graph)
    large = proto.ByteSize() > _LARGE_BYTES
    onnx.save_model(
        proto,
        str(path),
        save_as_external_data=large,
        all_tensors_to_one_file=True,
        location=NETWORK_DATA,
        size_threshold=1 << 16,
    )


def _forget_origins(graph: onnx.GraphProto) -> None:
    """Take out the source lines that each node came from: with their paths, equal networks would differ in
    the hash that is their bundle's version."""
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


def _check_parity(network: RankingNetwork, path: Path, rows: EncodedLog) -> dict[str, float]:
    """Largest difference by number of candidates, for one user and for one user a row."""
    session = NetworkSession(path)
    differences = {}
    for candidates in PARITY_ROWS:
        worst = 0.0
        for users in (1, candidates):
            inputs = _inputs(rows, candidates, users)
            expected, found = _torch_predictions(network, inputs), session.predict(inputs)
            for task, values in expected.items():
                difference = float(np.max(np.abs(values - found[task])))
                if not difference <= PARITY_TOLERANCE:
                    raise FulcrumError(
                        f"export stopped: torch and onnxruntime differ by {difference:.2e} in task {task!r} "
                        f"with {candidates} candidates; at most {PARITY_TOLERANCE:.0e} is expected"
                    )
                worst = max(worst, difference)
        differences[str(candidates)] = worst
    return differences


def _inputs(rows: EncodedLog, candidates: int, users: int) -> NetworkInputs:
    """Rows spread over the log, repeated where it is shorter."""
    item_rows: npt.NDArray[np.int64] = np.arange(candidates) * max(1, len(rows) // candidates) % len(rows)
    return NetworkInputs(
        rows.user.take(item_rows[:users]),
        rows.item.take(item_rows),
        np.arange(candidates, dtype=np.int64) % users,
    )


def _torch_predictions(network: RankingNetwork, inputs: NetworkInputs) -> dict[str, npt.NDArray[np.float32]]:
    with torch.inference_mode():
        predictions = network.predictions(
            **{name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in inputs.arrays().items()}
        )
    return {head.name: predictions[:, place].numpy() for place, head in enumerate(network.heads)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints and warns about its own inner workings."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
