"""Bundles that differ from a given one, for tests and benchmarks: other weights, and ways to be no good."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import yaml
from onnx import numpy_helper

from model.bundle import (
    ENCODER,
    FUSION,
    MANIFEST,
    MANIFEST_SUM,
    NETWORK,
    NETWORK_DATA,
    SAMPLE,
    SCHEMA,
    Bundle,
    Sample,
    load_bundle,
    write_manifest,
)
from model.bundle.session import NetworkSession
from model.encoding import Encoder
from model.schema import Schema

__all__ = ["write_edited", "write_variant"]

Flaw = Literal["corrupt", "foreign", "nan", "misfit"]


def write_variant(
    source: Path,
    out: Path,
    seed: int,
    created: str | None = None,
    flaw: Flaw | None = None,
    rename: tuple[str, str] | None = None,
) -> str:
    """Write a bundle with the encoder of `source` and other weights; its version.

    Args:
        source: a bundle.
        out: its new folder, which appears complete.
        seed: of the weights.
        created: as the manifest says it; `source`'s where absent.
        flaw: corrupt: a byte of the network is not what the manifest says. foreign: another encoder, whose
            rows no store has. nan: weights that are no numbers. misfit: predictions are not the sample's.
        rename: a task and its new name.
    """
    bundle = load_bundle(source)
    fresh = out.with_name(f".{out.name}")
    fresh.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, fresh, ignore=shutil.ignore_patterns(MANIFEST, MANIFEST_SUM, NETWORK_DATA))
    _change_weights(source / NETWORK, fresh / NETWORK, seed, nan=flaw == "nan")
    if flaw == "foreign":
        _change_encoder(fresh / ENCODER)
    if rename:
        _rename(fresh, *rename)
    predictions = NetworkSession(fresh / NETWORK).predict(bundle.sample.inputs)
    if flaw == "misfit":
        predictions["vtr"] = predictions["vtr"] + np.float32(0.01)
    (fresh / SAMPLE).unlink()
    Sample(bundle.sample.inputs, predictions).save(fresh / SAMPLE)
    version = _manifest(fresh, bundle, created, dict([rename] if rename else []))
    if flaw == "corrupt":
        network = bytearray((fresh / NETWORK).read_bytes())
        network[len(network) // 2] ^= 1
        (fresh / NETWORK).write_bytes(network)
    fresh.rename(out)
    return version


def write_edited(source: Path, out: Path, edit: Callable[[Path], None], **fields: Any) -> None:
    """Write a copy of a bundle that `edit` changed, with a manifest that agrees with what it holds then.

    Args:
        source: a bundle.
        out: its new folder.
        edit: called with the folder.
        **fields: of the manifest.
    """
    bundle = load_bundle(source)
    shutil.copytree(source, out, ignore=shutil.ignore_patterns(MANIFEST, MANIFEST_SUM))
    edit(out)
    _manifest(out, bundle, None, {}, **fields)


def _change_weights(source: Path, out: Path, seed: int, nan: bool) -> None:
    random = np.random.default_rng(seed)
    network = onnx.load(source)
    for tensor in network.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or not tensor.dims:
            continue
        weights = numpy_helper.to_array(tensor)
        changed = weights * (1.0 + 0.2 * random.normal(size=weights.shape))
        if nan:
            changed = np.full(weights.shape, np.nan)
        tensor.CopyFrom(numpy_helper.from_array(changed.astype(np.float32), tensor.name))
    onnx.save(network, out)


def _change_encoder(path: Path) -> None:
    document: dict[str, Any] = json.loads(path.read_bytes())

    def bump(node: Any) -> bool:
        """The first mean that is found becomes another."""
        if isinstance(node, dict):
            if isinstance(node.get("mean"), float):
                node["mean"] += 1.0
                return True
            return any(bump(value) for value in node.values())
        return isinstance(node, list) and any(bump(value) for value in node)

    assert bump(document), "no numeric feature to change"
    path.write_text(json.dumps(document))


def _rename(folder: Path, task: str, name: str) -> None:
    network = onnx.load(folder / NETWORK)
    for node in network.graph.node:
        for place, output in enumerate(node.output):
            if output == task:
                node.output[place] = name
    for output in network.graph.output:
        output.name = name if output.name == task else output.name
    onnx.save(network, folder / NETWORK)
    for file in (SCHEMA, FUSION):
        document = yaml.safe_load((folder / file).read_text())
        if file == SCHEMA:
            for entry in document["tasks"]:
                entry["name"] = name if entry["name"] == task else entry["name"]
        else:
            for scene in document["scenes"].values():
                scene["tasks"] = {name if key == task else key: term for key, term in scene["tasks"].items()}
        (folder / file).write_text(json.dumps(document))


def _manifest(
    folder: Path, bundle: Bundle, created: str | None, renamed: dict[str, str], **given: Any
) -> str:
    fields = bundle.manifest.model_dump(mode="json", exclude={"format", "version", "files"})
    for task in fields["tasks"]:
        task["name"] = renamed.get(task["name"], task["name"])
    schema = Schema.model_validate_json((folder / SCHEMA).read_bytes())
    encoder = Encoder.from_json(schema, (folder / ENCODER).read_bytes())
    fields |= {"encoder_fingerprint": encoder.fingerprint, "created": created or fields["created"], **given}
    return write_manifest(folder, **fields).version
