"""Export: a bundle appears whole, agreeing with torch, or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from model.bundle import load_bundle
from model.bundle.inputs import NetworkInputs
from model.bundle.session import NetworkSession
from model.encoding import Column, Encoder
from model.errors import FulcrumError
from model.network.embedding import EmbeddingSpec, FieldSpec, SideSpec
from model.network.network import build_network
from model.network.trunks.ple import PLEConfig
from model.schema import Schema
from training.export import export
from training.export.export import write_bundle
from training.fitting.network import side_spec, task_heads
from training.rows.batches import EncodedLog

ROWS = 40
PROVENANCE = {"network": {}, "training": {}, "data": {}, "metrics": {}}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def parts(*kinds):
    """Network, encoder and rows of a schema with a feature of each side and kind, such as `item numeric`."""
    features = [
        {"name": kind.replace(" ", "_"), "side": kind.split()[0], "kind": kind.split()[1]} for kind in kinds
    ]
    schema = Schema.model_validate(
        {
            "name": "s",
            "data": {"user": "user", "item": "item", "time": "time", "split": {"last": 0.5}},
            "features": features,
            "tasks": [
                {"name": "vtr", "type": "binary", "label": "y"},
                {"name": "vcr", "type": "regression", "label": "z"},
            ],
        }
    )
    random = np.random.default_rng(4)
    columns = {
        feature["name"]: Column(random.normal(size=ROWS))
        if feature["kind"] == "numeric"
        else Column(random.integers(0, 5, ROWS))
        for feature in features
    }
    encoder = Encoder.fit(schema, columns)
    torch.manual_seed(1)
    network = build_network(
        PLEConfig(levels=1, expert=(8,), tower=(4,)),
        user=side_spec(encoder, "user", "context"),
        item=side_spec(encoder, "item"),
        tasks=task_heads(encoder),
    )
    numbers = np.zeros(ROWS, np.int64)
    labels = np.zeros((ROWS, 2), np.float32)
    rows = EncodedLog(*encoder.encode(columns, ROWS), labels, labels == 0, numbers, numbers)
    return {"name": "s-ple", "network": network, "encoder": encoder, "rows": rows, "provenance": PROVENANCE}


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """A network and its bundle, exported once for all tests that ask nothing else of an export."""
    folder, made = tmp_path_factory.mktemp("usual") / "bundle", parts("user numeric", "item categorical")
    write_bundle(folder, **made)
    return made, folder


@pytest.fixture
def exported(usual, monkeypatch):
    """Have `write_bundle` take that graph: the network's parts."""
    made, folder = usual
    monkeypatch.setattr(export, "export_graph", lambda _, path: shutil.copy(folder / "network.onnx", path))
    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kinds", "inputs"),
    [
        (["user numeric", "item numeric"], ["user_numeric", "item_numeric", "row_to_user"]),
        (["context categorical"], ["user_ids", "row_to_user"]),
        (["item categorical"], ["item_ids", "row_to_user"]),
    ],
)
def test_an_input_without_columns_is_left_out_of_the_graph(tmp_path, kinds, inputs):
    made = parts(*kinds)
    write_bundle(tmp_path / "bundle", **made)
    bundle = load_bundle(tmp_path / "bundle")
    session = NetworkSession(bundle.network_path)
    assert session._inputs == inputs
    rows = made["rows"]
    for users, candidates in ((1, 1), (1, 33), (5, 33)):
        given = NetworkInputs(
            rows.user.take(slice(0, users)),
            rows.item.take(slice(0, candidates)),
            np.arange(candidates) % users,
        )
        tensors = {name: torch.from_numpy(array) for name, array in given.arrays().items()}
        with torch.inference_mode():
            expected = made["network"].predictions(**tensors).numpy()
        found = session.predict(given)
        np.testing.assert_allclose(np.stack([found["vtr"], found["vcr"]], axis=1), expected, atol=1e-5)


@pytest.mark.slow
def test_the_graph_does_not_know_where_it_was_made(usual):
    """Or its hash, the bundle's version, would depend on the checkout's path."""
    checkout = str(Path(export.__file__).parents[2]).encode()
    for file in usual[1].iterdir():
        assert checkout not in file.read_bytes(), file.name


@pytest.mark.slow
def test_large_tables_lie_beside_the_graph_and_count_for_the_version(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_LARGE_BYTES", 0)
    made = parts("user numeric", "item categorical")
    # A table of 640 kB: the encoder's own few rows are not worth a place outside the graph.
    made["network"] = build_network(
        PLEConfig(levels=1, expert=(8,), tower=()),
        user=side_spec(made["encoder"], "user", "context"),
        item=SideSpec((FieldSpec("f", EmbeddingSpec("f", 20_000, 8)),)),
        tasks=made["network"].heads,
    )
    write_bundle(tmp_path / "bundle", **made)
    assert "network.onnx.data" in load_bundle(tmp_path / "bundle").manifest.files
    weights = bytearray((tmp_path / "bundle" / "network.onnx.data").read_bytes())
    weights[len(weights) // 2] ^= 1
    (tmp_path / "bundle" / "network.onnx.data").write_bytes(weights)
    with pytest.raises(FulcrumError, match=r"network\.onnx\.data is damaged"):
        load_bundle(tmp_path / "bundle")


def _too_strict(monkeypatch):
    monkeypatch.setattr(export, "PARITY_TOLERANCE", -1.0)


def _not_a_number(monkeypatch):
    sound = NetworkSession.predict

    def broken(self, inputs):
        return {task: values * np.nan for task, values in sound(self, inputs).items()}

    monkeypatch.setattr(NetworkSession, "predict", broken)


def _wrong_in_large_batches(monkeypatch):
    sound = NetworkSession.predict

    def broken(self, inputs):
        wrong = len(inputs.row_to_user) > 1000
        return {task: values + 0.001 * wrong for task, values in sound(self, inputs).items()}

    monkeypatch.setattr(NetworkSession, "predict", broken)


def test_a_network_that_onnxruntime_runs_otherwise_leaves_the_old_bundle_serving(
    tmp_path, trained, exported, monkeypatch
):
    old = load_bundle(shutil.copytree(trained.bundle, tmp_path / "bundle")).version
    before = sorted(tmp_path.rglob("*"))
    for break_ in (_too_strict, _not_a_number, _wrong_in_large_batches):
        with monkeypatch.context() as broken:
            break_(broken)
            for folder in ("bundle", "new"):
                with pytest.raises(FulcrumError, match="export stopped: torch and onnxruntime differ by"):
                    write_bundle(tmp_path / folder, **exported)
        assert sorted(tmp_path.rglob("*")) == before
        assert load_bundle(tmp_path / "bundle").version == old
    # Mended, it takes the old one's place and leaves nothing else behind.
    manifest = write_bundle(tmp_path / "bundle", **exported)
    assert load_bundle(tmp_path / "bundle").version == manifest.version != old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


@pytest.mark.slow
def test_what_a_crash_left_behind_is_no_obstacle(tmp_path, exported):
    for leftover in (".bundle.unfinished", ".bundle.previous"):
        (tmp_path / leftover).mkdir()
        (tmp_path / leftover / "network.onnx").write_bytes(b"half")
    (tmp_path / "bundle").mkdir()
    write_bundle(tmp_path / "bundle", **exported)
    load_bundle(tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_something_else_than_a_bundle_is_never_replaced(tmp_path, kind):
    there = tmp_path / "out"
    if kind == "file":
        there.write_text("precious")
    else:
        there.mkdir()
        (there / "notes.txt").write_text("precious")
    with pytest.raises(FulcrumError, match=r"out holds something else than a bundle"):
        write_bundle(there, **parts("user numeric"))
    assert (there if kind == "file" else there / "notes.txt").read_text() == "precious"
