"""A tiny real bundle, its store, and the service over real HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper, save_model

from model.bundle import ENCODER, FUSION, NETWORK, SAMPLE, SCHEMA, Bundle, Sample, load_bundle, write_manifest
from model.bundle.inputs import NetworkInputs
from model.bundle.session import NetworkSession
from model.encoding import Column, EncodedRows, Encoder
from model.schema import Schema
from model.store.packed import PackedLayout, write_store
from service.settings import Settings
from tests.support.bundle_variants import write_edited
from tests.support.redis_server import (
    redis_cluster,
    redis_process,
    redis_server,
    redis_user,
    tactless_redis,
    tls_redis,
)
from tests.support.service_thread import listening

__all__ = ["redis_cluster", "redis_process", "redis_server", "redis_user", "tactless_redis", "tls_redis"]

TASKS = ("vtr", "vcr", "shr", "cmr")
USERS, ITEMS, WIDTH = 40, 800, 4
FUSION_CONFIG = {
    "schema_version": 1,
    "scenes": {
        "default": {
            "tasks": {
                "vtr": {"weight": 1.0},
                "vcr": {"weight": 0.5},
                "shr": {"weight": 0.3},
                "cmr": {"weight": 0.2},
            },
            "video_len": {"kind": "log", "scale_s": 30.0, "weight": 1.0, "missing": 0.7},
        },
        "feed": {"tasks": {"vtr": {"weight": 2.0}, "shr": {"weight": -0.5}}},
    },
}
SCHEMA_DOCUMENT = {
    "name": "tiny",
    "data": {
        "user": "user_id",
        "item": "video_id",
        "time": "at",
        "video_len": {"column": "duration_ms", "unit": "ms"},
        "split": {"last": 0.2},
    },
    "features": [
        {"name": "user_id", "side": "user", "kind": "id", "width": WIDTH},
        {"name": "activity", "side": "user", "kind": "categorical", "width": WIDTH},
        {"name": "age", "side": "user", "kind": "numeric"},
        {"name": "tab", "side": "context", "kind": "categorical", "width": WIDTH},
        {"name": "hour", "side": "context", "kind": "numeric"},
        {"name": "video_id", "side": "item", "kind": "id", "width": WIDTH},
        {"name": "author", "side": "item", "kind": "id", "hash_buckets": 50, "width": WIDTH},
        {"name": "duration_ms", "side": "item", "kind": "numeric", "transform": "log1p"},
        {"name": "likes", "side": "item", "kind": "numeric"},
    ],
    "tasks": [
        {"name": "vtr", "type": "binary", "label": "a"},
        {"name": "vcr", "type": "regression", "label": "b"},
        {"name": "shr", "type": "binary", "label": "c"},
        {"name": "cmr", "type": "binary", "label": "d"},
    ],
}
EVENTS = {
    "kinds": [
        {"kind": "is_click"},
        {"kind": "play_ms", "type": "integer", "unit": "ms", "combine": "sum"},
        {"kind": "rating", "type": "number"},
    ],
    "clock_skew_s": 300,
    "max_age_s": 86_400,
}
EXAMPLE = {
    "user_id": "u1",
    "context": {"tab": "1", "hour": 21},
    "candidates": [{"id": "v1", "video_len": 31.5}, {"id": "v2"}, {"id": "v3", "features": {"likes": 12}}],
}


@dataclass(frozen=True)
class World:
    """Folders of a bundle and of its store."""

    bundle: Path
    features: Path

    def load(self) -> Bundle:
        return load_bundle(self.bundle)


@dataclass(frozen=True)
class Served:
    """A service that answers, and its fusion file."""

    http: httpx.Client
    fusion: Path

    def rank(self, **body: Any) -> dict[str, Any]:
        """The answer to a request that must succeed."""
        answer = self.http.post("/v1/rank", json={"user_id": "u1", **body})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, **body: Any) -> dict[str, Any]:
        """The problem of a request that must fail with 422."""
        answer = self.http.post("/v1/rank", json={"user_id": "u1", **body})
        assert answer.status_code == 422, answer.text
        return answer.json()


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("world")
    bundle, features = root / "bundle", root / "features"
    schema = Schema.model_validate(SCHEMA_DOCUMENT)
    columns = _log_columns()
    encoder = Encoder.fit(schema, columns)
    _write_bundle(bundle, schema, encoder)
    _publish(features, encoder, columns)
    return World(bundle, features)


@pytest.fixture(scope="session")
def watched(world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The same, with a bundle that declares kinds of feedback."""
    bundle = tmp_path_factory.mktemp("watched") / "bundle"
    write_edited(world.bundle, bundle, lambda _: None, events=EVENTS)
    return World(bundle, world.features)


@pytest.fixture(scope="session")
def fusion_config() -> dict[str, Any]:
    return FUSION_CONFIG


@pytest.fixture(scope="session")
def serve(world: World, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """`with serve(fusion, **settings) as served`: a service of its own."""

    @contextmanager
    def serving(fusion: dict[str, Any] | None = FUSION_CONFIG, **given: Any) -> Iterator[Served]:
        file = tmp_path_factory.mktemp("fusion") / "fusion.yaml"
        if fusion is not None:
            file.write_text(yaml.safe_dump(fusion))
        defaults = {
            "bundle": world.bundle,
            "features": str(world.features),
            "fusion": file if fusion else None,
            "threads": 1,
        }
        with (
            listening(Settings(**{**defaults, **given})) as url,
            httpx.Client(base_url=url, timeout=60) as http,
        ):
            yield Served(http, file)

    return serving


@pytest.fixture(scope="session")
def served(serve: Callable[..., Any]) -> Iterator[Served]:
    """One service for tests that change nothing."""
    with serve() as running:
        yield running


def _log_columns() -> dict[str, Column]:
    """A log of one row an item, of which users are the first rows'."""
    random = np.random.default_rng(5)
    rows = np.arange(ITEMS)
    return {
        "user_id": Column([f"u{row % USERS}" for row in rows]),
        "activity": Column([("high", "low", None)[row % USERS % 3] for row in rows]),
        "age": Column([None if row % USERS == 7 else float(18 + row % USERS) for row in rows]),
        "tab": Column([str(row % 3) for row in rows]),
        "hour": Column((rows % 24).astype(np.float64)),
        "video_id": Column([f"v{row}" for row in rows]),
        "author": Column([f"a{row % 90}" for row in rows]),
        "duration_ms": Column(
            [
                None if row % 50 == 49 else int(ms)
                for row, ms in zip(rows, random.integers(3_000, 180_000, ITEMS), strict=True)
            ]
        ),
        "likes": Column(random.lognormal(3.0, 1.0, ITEMS)),
    }


def _write_bundle(folder: Path, schema: Schema, encoder: Encoder) -> None:
    folder.mkdir()
    (folder / SCHEMA).write_text(schema.model_dump_json())
    (folder / ENCODER).write_bytes(encoder.to_json())
    (folder / FUSION).write_text(yaml.safe_dump(FUSION_CONFIG))
    _export(folder / NETWORK, encoder)
    inputs = _random_inputs(encoder)
    Sample(inputs, NetworkSession(folder / NETWORK).predict(inputs)).save(folder / SAMPLE)
    write_manifest(
        folder,
        name="tiny-mlp",
        created="2026-01-01T00:00:00Z",
        tasks=[{"name": task.name, "type": task.type, "bounds": (0.0, 1.0)} for task in schema.tasks],
        encoder_fingerprint=encoder.fingerprint,
        network={},
        training={},
        data={},
        metrics={},
        parity={},
        environment={},
        example=EXAMPLE,
    )


def _publish(folder: Path, encoder: Encoder, columns: dict[str, Column]) -> None:
    user, item = encoder.encode(columns, ITEMS)
    width = encoder.sides["user"]
    users = EncodedRows(user.ids[:USERS, : width.id_columns], user.numeric[:USERS, : width.numeric_columns])
    durations = np.array(columns["duration_ms"].values, np.float64) / 1000.0
    write_store(
        folder,
        encoder,
        [
            ("users", columns["user_id"].values[:USERS], PackedLayout.of(encoder, "users").pack(users)),
            ("items", columns["video_id"].values, PackedLayout.of(encoder, "items").pack(item, durations)),
        ],
    )


def _random_inputs(encoder: Encoder, users: int = 3, candidates: int = 40) -> NetworkInputs:
    random = np.random.default_rng(11)

    def side(rows: int, *names: str) -> EncodedRows:
        sizes = [encoder.features[name].vocabulary.cardinality for name in names if name in _ID_FEATURES]
        numeric = sum(encoder.features[name].columns for name in names if name not in _ID_FEATURES)
        ids = np.stack([random.integers(0, size, rows) for size in sizes], axis=1)
        return EncodedRows(ids, random.normal(size=(rows, numeric)).astype(np.float32))

    return NetworkInputs(
        side(users, "user_id", "activity", "age", "tab", "hour"),
        side(candidates, "video_id", "author", "duration_ms", "likes"),
        random.integers(0, users, candidates),
    )


_ID_FEATURES = ("user_id", "activity", "tab", "video_id", "author")


def _export(path: Path, encoder: Encoder) -> None:
    """Embeddings and a hidden layer, by hand: user_ids [R, 3], item_ids [N, 2] -> each task [N]."""
    random = np.random.default_rng(3)
    nodes, weights = [], []

    def constant(name: str, values: Any) -> str:
        weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def embedded(ids: str, names: tuple[str, ...]) -> list[str]:
        columns = []
        for place, name in enumerate(names):
            table = random.normal(size=(encoder.features[name].vocabulary.cardinality, WIDTH)).astype(
                np.float32
            )
            picked = node("Gather", [ids, constant(f"{name}_place", place)], f"{name}_index", axis=1)
            columns.append(node("Gather", [constant(f"{name}_table", table), picked], f"{name}_vector"))
        return columns

    user = node("Concat", [*embedded("user_ids", _ID_FEATURES[:3]), "user_numeric"], "user", axis=1)
    item = node("Concat", [*embedded("item_ids", _ID_FEATURES[3:]), "item_numeric"], "item", axis=1)
    spread = node("Gather", [user, "row_to_user"], "user_of_row", axis=0)
    both = node("Concat", [spread, item], "both", axis=1)
    user_numeric = sum(encoder.sides[side].numeric_columns for side in ("user", "context"))
    item_numeric = encoder.sides["item"].numeric_columns
    width = 5 * WIDTH + user_numeric + item_numeric
    first = (random.normal(size=(width, 32)) / np.sqrt(width)).astype(np.float32)
    hidden = node("Tanh", [node("MatMul", [both, constant("first", first)], "sums")], "hidden")
    for task in TASKS:
        tower = constant(f"{task}_tower", random.normal(size=(32, 1)).astype(np.float32) / 4)
        logit = node("MatMul", [hidden, tower], f"{task}_logit")
        flat = node("Squeeze", [logit, constant(f"{task}_axis", np.array([1]))], f"{task}_flat")
        node("Sigmoid", [flat], task)

    def floats(name: str, shape: list[Any]) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    def integers(name: str, shape: list[Any]) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.INT64, shape)

    inputs = [
        integers("user_ids", ["R", 3]),
        floats("user_numeric", ["R", user_numeric]),
        integers("item_ids", ["N", 2]),
        floats("item_numeric", ["N", item_numeric]),
        integers("row_to_user", ["N"]),
    ]
    graph = helper.make_graph(nodes, "tiny", inputs, [floats(task, ["N"]) for task in TASKS], weights)
    save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
