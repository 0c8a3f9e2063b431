import ast
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.serving.contenders import CONTENDERS
from benchmarks.serving.material import FUSION
from benchmarks.serving.peers import ranking
from model.fusion import LogPower, explain

PEERS = Path(ranking.__file__).parent


def test_the_peers_formula_is_fulcrums():
    generator = np.random.default_rng(5)
    predictions = {task: generator.random(2_000, np.float32) ** 6 for task in FUSION["tasks"]}
    predictions["vtr"][:3] = 0.0
    lengths = generator.exponential(40.0, 2_000)
    lengths[::10], lengths[1] = np.nan, 0.0
    expected = explain(LogPower.model_validate(FUSION), predictions, lengths).fused.log_score
    assert ranking.fuse(FUSION, predictions, lengths) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_rows_are_found_by_key_and_defaults_stand_for_unknown_ones(tmp_path: Path):
    np.savez(
        tmp_path / "rows.npz",
        keys=np.array(["a", "b"]),
        ids=np.array([[1], [2], [0]]),
        numeric=np.zeros((3, 0), np.float32),
        video_len_s=np.array([4.0, 5.0, np.nan]),
    )
    table = ranking.Table(str(tmp_path / "rows.npz"))
    assert table.ids[table.find(["b", "nobody", "a"])].tolist() == [[2], [0], [1]]


def test_what_peers_share_needs_numpy_and_onnxruntime_alone():
    tree = ast.parse((PEERS / "ranking.py").read_text())
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - sys.stdlib_module_names == {"numpy", "onnxruntime"}


@pytest.mark.parametrize("name", [name for name, contender in CONTENDERS.items() if contender.peer])
def test_a_peer_has_a_file_and_an_environment_of_exact_pins_without_torch(name: str):
    contender = CONTENDERS[name]
    assert contender.peer is not None
    assert (PEERS / f"{contender.peer[0]}.py").is_file()
    lines = (PEERS / f"requirements-{contender.environment}.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert "torch" not in pins
    constraints = (PEERS.parents[2] / "constraints.txt").read_text().splitlines()
    for package in ("numpy", "onnxruntime"):
        assert f"{package}=={pins[package]}" in constraints, "peers compute with what we compute with"
