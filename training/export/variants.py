"""Variants: a bundle's network in cheaper numbers, made, judged and put beside it. Knows no torch.

    training rows -> calibration -> network.int8.onnx -> held-out rows -> gate -> manifest

On the folder that the bundle was trained from, the training split calibrates and the validation split judges;
on any other, every other user's rows do the one, the rest the other. The bundle's version does not change: it
names what was trained. A variant that fails is recorded, without its graph.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from model.bundle import (
    MANIFEST_FILES,
    NETWORK,
    NETWORK_DATA,
    WEIGHTS,
    Bundle,
    Manifest,
    VariantEntry,
    load_bundle,
    write_manifest,
)
from model.bundle.inputs import NetworkInputs
from model.bundle.session import NetworkSession
from model.cores import available_cores
from model.errors import FulcrumError
from model.files import check_folder, fresh_folder
from model.fusion import DEFAULT_SCENE, load_fusion
from model.learned_fusion import scorer_of
from training.datasets import read_source
from training.evaluation.predicting import predict_log
from training.export.quantization import INT8, check_quantizable, observe, open_graph, quantize
from training.export.variant_gate import Request, VariantGate, judge_orders, judge_tasks
from training.preparation.preparation import PreparedLog, prepare_log
from training.progress import Advanced, Observer, Stage, silent
from training.rows.batches import EncodedLog
from training.rows.material import encode_rows

_CALIBRATION_ROWS = 20_000
_BATCH = 2_000
_REQUESTS = 200
_CANDIDATES = 500
_TIMED_CALLS = 30


def quantize_bundle(
    bundle: Bundle, folder: Path | None = None, observer: Observer = silent
) -> tuple[VariantEntry, VariantGate]:
    """Make the variant int8 of a bundle and put it into the bundle's folder, for one that stood there.

    Args:
        bundle: verified; its folder is replaced as a whole.
        folder: the log's files; None where the data set needs none.
        observer: told of progress.

    Raises:
        FulcrumError: the network has nothing to quantize, the bundle's folder cannot be replaced, or the data
            does not fit.
    """
    check_quantizable(open_graph(bundle.network_path))
    check_folder(bundle.path.absolute().parent, "a variant is written beside the bundle, in")
    source = read_source(bundle.schema, folder)
    own = source.fingerprint == bundle.manifest.data.get("fingerprint")
    log = prepare_log(bundle.schema, source, split=own)
    calibrating, judged = _parts(log, own)
    few = min(_CALIBRATION_ROWS, len(calibrating))
    of = "of the validation split" if own else "of other users"
    observer(Stage(f"Calibrating on {few:,} of {len(calibrating):,} rows, judging on {len(judged):,} {of}"))
    with fresh_folder(bundle.path) as copy:
        _copy_files(bundle, copy)
        path = copy / f"network.{INT8}.onnx"
        graph = open_graph(copy / NETWORK)
        names = [value.name for value in graph.graph.input]
        batches = _batches(bundle, log, calibrating, names, observer)
        quantize(graph, observe(graph, batches, copy, available_cores()))
        onnx.save_model(graph, str(path))
        gate, tolerance, speedup = _judge(bundle, path, log, judged, observer)
        passed = not gate.failures
        entry = VariantEntry(
            passed=passed,
            file=path.name if passed else None,
            provider="cpu",
            speedup=speedup,
            tolerance=tolerance,
            sample=_on_sample(bundle, path),
            gate=gate.report(),
        )
        if not passed:
            path.unlink()
        write_manifest(copy, **_fields(bundle.manifest, entry))
        load_bundle(copy)
    return entry, gate


def _copy_files(bundle: Bundle, copy: Path) -> None:
    for name in [*bundle.manifest.files, *MANIFEST_FILES]:
        (_link if name in (NETWORK_DATA, WEIGHTS) else shutil.copy2)(bundle.path / name, copy / name)


def _link(source: Path, target: Path) -> None:
    """Large files are never written to: another name for the same bytes is enough, where there can be one."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _parts(log: PreparedLog, own: bool) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Places of the rows that calibrate and of those that judge."""
    calibrating = log.train if own else log.user % 2 == 0
    judged = log.validation if own else log.user % 2 == 1
    if not (calibrating.any() and judged.any()):
        raise FulcrumError("too few rows; calibrating and judging take rows of different users")
    return np.flatnonzero(calibrating), np.flatnonzero(judged)


def _batches(
    bundle: Bundle, log: PreparedLog, rows: npt.NDArray[np.int64], names: Sequence[str], observer: Observer
) -> Iterator[Mapping[str, npt.NDArray[np.generic]]]:
    spread = rows[np.linspace(0, len(rows) - 1, min(_CALIBRATION_ROWS, len(rows))).astype(np.int64)]
    for start in range(0, len(spread), _BATCH):
        some = encode_rows(bundle.encoder, log, spread[start : start + _BATCH])
        arrays = NetworkInputs(some.user, some.item, np.arange(len(some))).arrays()
        yield {name: arrays[name] for name in names}
        observer(Advanced("calibrating", start + len(some), len(spread), "rows"))


def _judge(
    bundle: Bundle, path: Path, log: PreparedLog, rows: npt.NDArray[np.int64], observer: Observer
) -> tuple[VariantGate, dict[str, float], float]:
    """The gate, the largest difference by task, and how much faster the variant is."""
    exact, variant = (NetworkSession(file, threads=available_cores()) for file in (bundle.network_path, path))
    held_out = encode_rows(bundle.encoder, log, rows)
    before, after = (predict_log(session, held_out, observer) for session in (exact, variant))
    observer(Advanced("resampling users", 0, None))
    checks = judge_tasks(bundle.schema.tasks, before, after, held_out)
    scene = load_fusion(bundle.fusion_path).scenes[DEFAULT_SCENE]
    drawn = list(_requests(bundle, log, rows, held_out))
    ranked = []
    for inputs, seconds in drawn:
        ranked.append(Request(exact.predict(inputs), variant.predict(inputs), seconds))
        observer(Advanced("ranking", len(ranked), len(drawn), "requests"))
    regret, overlap = judge_orders(scene, ranked, scorer_of(scene, bundle.path))
    pairs = [(before, after), *((request.exact, request.variant) for request in ranked)]
    tolerance = {
        task: max(float(np.max(np.abs(other[task] - own[task]))) for own, other in pairs)
        for task in bundle.task_names
    }
    gate = VariantGate([*checks, regret], len(rows), len(ranked), overlap)
    return gate, tolerance, _speedup(bundle.network_path, path, drawn[0][0])


def _requests(
    bundle: Bundle, log: PreparedLog, rows: npt.NDArray[np.int64], held_out: EncodedLog
) -> Iterator[tuple[NetworkInputs, npt.NDArray[np.float64]]]:
    """Requests as a service gets them: a held-out row's user and context, other held-out rows' items."""
    random = np.random.default_rng(0)
    item = bundle.schema.data.item
    places = np.arange(len(rows))
    if item is not None:
        places = np.unique(log.frame[item].gather(rows).rank("dense").to_numpy(), return_index=True)[1]
    seconds = log.video_len_s[rows]
    for row in random.choice(len(rows), min(_REQUESTS, len(rows)), replace=False):
        some = random.choice(places, min(_CANDIDATES, len(places)), replace=False)
        inputs = NetworkInputs(
            held_out.user.take(slice(row, row + 1)), held_out.item.take(some), np.zeros(len(some), np.int64)
        )
        yield inputs, seconds[some]


def _speedup(exact: Path, variant: Path, inputs: NetworkInputs) -> float:
    """Median time of float32 over the variant's, on one thread, calls alternating."""
    sessions = [NetworkSession(path, threads=1) for path in (exact, variant)]
    seconds = np.zeros((_TIMED_CALLS, 2))
    for turn in range(_TIMED_CALLS):
        for place, session in enumerate(sessions):
            began = time.perf_counter()
            session.predict(inputs)
            seconds[turn, place] = time.perf_counter() - began
    own, other = np.median(seconds, axis=0)
    return float(own / other)


def _on_sample(bundle: Bundle, path: Path) -> dict[str, float]:
    found = NetworkSession(path).predict(bundle.sample.inputs)
    return {
        task: float(np.sqrt(np.mean((found[task] - expected) ** 2)))
        for task, expected in bundle.sample.expected.items()
    }


def _fields(manifest: Manifest, entry: VariantEntry) -> dict[str, Any]:
    fields = {name: getattr(manifest, name) for name in Manifest.model_fields}
    for name in ("format", "version", "files"):
        del fields[name]
    fields["variants"] = {**manifest.variants, INT8: entry}
    return fields
