"""Graphs of networks, each exported once for all tests: an export takes seconds."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import onnx
import pytest

from model.network.embedding import SideSpec
from tests.support.network_graphs import ITEM, USER, Graphs, exported, network_of
from training.export.lowering import lower


@pytest.fixture(scope="session")
def graphs(made_once):
    @cache
    def make(model: str, user: SideSpec = USER, item: SideSpec = ITEM) -> Graphs:
        network = network_of(model, user, item)

        def export(folder: Path) -> None:
            exported(network, folder / "network.onnx", lowered=False)

        sides = hashlib.sha256(repr((user, item)).encode()).hexdigest()[:16]
        standard = onnx.load(made_once(f"graph-{model}-{sides}", export) / "network.onnx")
        lowered = onnx.ModelProto()
        lowered.CopyFrom(standard)
        lower(lowered.graph, network.user.width)
        onnx.checker.check_model(lowered, full_check=True)
        return Graphs(network, standard, lowered)

    return make
