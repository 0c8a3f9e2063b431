"""What is ranked: a bundle, its network as torch exports it, its rows as arrays, requests and right answers.

Knows no contenders. Everything is made once below build/bench.

Shapes: N candidates, R rows of a table.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from benchmarks.rig import FULCRUM, HOME, make_bundle
from model.bundle import FP32, Bundle, load_bundle
from model.bundle.inputs import NetworkInputs
from model.bundle.session import NetworkSession
from model.encoding import EncodedRows
from model.fusion import explain, load_fusion
from model.store.packed import PackedTable, open_tables
from training.export.export import export_graph
from training.fitting.network import fresh_network
from training.recipe import load_recipe
from training.runs.warm_start import open_bundle

__all__ = ["FUSION", "TOP_K", "Material", "Ranked"]

TOP_K = 50
BODIES = 64
_STEP = 250
"""Candidates between the first ones of two requests."""

FUSION: dict[str, Any] = {
    "formula": "log_power",
    "tasks": {
        "vtr": {"weight": 1.0, "smoothing": 0.0, "clip": [1e-6, 1.0]},
        "vcr": {"weight": 0.5, "smoothing": 0.0, "clip": [1e-4, 1.0]},
        "shr": {"weight": 0.3, "smoothing": 0.0, "clip": [1e-6, 1.0]},
        "cmr": {"weight": 0.2, "smoothing": 0.0, "clip": [1e-6, 1.0]},
    },
    "video_len": {"kind": "log", "scale_s": 30.0, "weight": 1.0, "missing": 1.0},
}
"""The scene that all contenders rank by."""


@dataclass(frozen=True)
class Ranked:
    """An answer: ids of the best, best first, and their scores."""

    ids: list[str]
    scores: list[float]

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Ranked:
        """From an answer over HTTP."""
        return cls([item["id"] for item in answer["items"]], [item["score"] for item in answer["items"]])


class Material:
    """The bundle of recipe `bench`, or another of that recipe, and its rows.

    Attributes:
        bundle: what Fulcrum serves.
        store: its rows, as Fulcrum maps them.
        fusion: the config, as Fulcrum reads it.
        standard: its network as torch exports it, which peers serve.
    """

    def __init__(self, bundle: Path | None = None) -> None:
        path = bundle or make_bundle()
        self.store = HOME / "features"
        if bundle is not None:
            words = ["publish", str(path), "--to", str(self.store)]
            subprocess.run([FULCRUM, *words], check=True, capture_output=True)
        self.bundle: Bundle = load_bundle(path)
        _, tables = open_tables(self.store, self.bundle.encoder)
        self._users, self._items = _records(tables["users"]), _records(tables["items"])
        self.fusion = HOME / "fusion.json"
        self.fusion.write_text(json.dumps({"schema_version": 1, "scenes": {"default": FUSION}}))
        self.standard = HOME / f"standard-{self.bundle.version[-16:]}.onnx"
        if not self.standard.exists():
            _export(self.bundle, self.standard)

    def add_variant(self, variant: str) -> str | None:
        """Give the bundle this variant of its network, where it lacks it; why it does not serve, if so."""
        if variant == FP32:
            return None
        if variant not in self.bundle.manifest.variants:
            subprocess.run([FULCRUM, "quantize", str(self.bundle.path)], check=True, capture_output=True)
            self.bundle = load_bundle(self.bundle.path)
        entry = self.bundle.manifest.variants.get(variant)
        if entry is None:
            return "`fulcrum quantize` does not make it"
        return None if entry.passed else "it did not pass its quality gate"

    def peer_settings(self, threads: int) -> dict[str, Any]:
        """What peers are given: their `Ranking`'s arguments, its rows as plain arrays."""
        paths = {}
        context = self.bundle.encoder.sides["context"].defaults
        for side, records in (("user", self._users), ("item", self._items)):
            defaults = self.bundle.encoder.sides[side].defaults
            rows, nothing = _rows(records), np.full(1, np.nan)
            ids, numeric = (
                np.concatenate([rows.ids, defaults.ids]),
                np.concatenate([rows.numeric, defaults.numeric]),
            )
            if side == "user":
                row = EncodedRows(ids, numeric).beside(context.take(np.zeros(len(ids), np.int64)))
                ids, numeric = row.ids, row.numeric
            lengths = records["video_len_s"] if side == "item" else np.full(len(records), np.nan)
            path = HOME / f"{side}s.npz"
            np.savez(
                path,
                keys=np.array([str(number) for number in range(len(records))]),
                ids=ids,
                numeric=numeric,
                video_len_s=np.concatenate([lengths, nothing]),
            )
            paths[f"{side}s"] = str(path.resolve())
        return {**paths, "model": str(self.standard.resolve()), "fusion": FUSION, "threads": threads}

    def candidates(self, size: int, number: int) -> list[int]:
        """Rows of the candidates of a request [N]."""
        return [(number * _STEP + place) % len(self._items) for place in range(size)]

    def bodies(self, size: int) -> list[bytes]:
        """Requests of many users for many videos."""
        return [
            orjson.dumps(
                {
                    "user_id": str(number % len(self._users)),
                    "candidate_ids": [str(row) for row in self.candidates(size, number)],
                    "top_k": TOP_K,
                }
            )
            for number in range(BODIES)
        ]

    def inputs(self, size: int, number: int) -> NetworkInputs:
        """What the network sees of the same requests."""
        user = _rows(self._users[[number % len(self._users)]])
        context = self.bundle.encoder.sides["context"].defaults
        item = _rows(self._items[self.candidates(size, number)])
        return NetworkInputs(user.beside(context), item, np.zeros(size, np.int64))

    def right_answer(self, size: int, number: int) -> Ranked:
        """By the standard export and the formula."""
        predictions = self._session.predict(self.inputs(size, number))
        candidates = self.candidates(size, number)
        scene, _ = load_fusion(self.fusion).scene("default")
        fused = explain(scene, predictions, self._items["video_len_s"][candidates]).fused
        best = np.argsort(-fused.order, kind="stable")[:TOP_K].tolist()
        return Ranked([str(candidates[place]) for place in best], fused.score[best].tolist())

    @cached_property
    def _session(self) -> NetworkSession:
        return NetworkSession(self.standard, threads=1)


def _records(table: PackedTable) -> npt.NDArray[np.void]:
    """Records [R] by their names, which count from 0."""
    places = table.find([str(number) for number in range(len(table))])
    assert places.min() >= 0, "the rows of recipe `bench` are named 0, 1, ..."
    return table.records[places]


def _rows(records: npt.NDArray[np.void]) -> EncodedRows:
    return EncodedRows(np.ascontiguousarray(records["ids"]), np.ascontiguousarray(records["numeric"]))


def _export(bundle: Bundle, path: Path) -> None:
    recipe = load_recipe("bench")
    network = fresh_network(recipe.network, recipe.training, bundle.encoder)
    open_bundle(bundle.path, recipe.data_schema, recipe.network).put(network, bundle.encoder, recipe.network)
    export_graph(network, path, lowered=False)
