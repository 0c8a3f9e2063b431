"""The world's rows in a Redis, behind a proxy that can do harm."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from model.encoding import Encoder
from model.redis_url import RedisUrl
from model.store.packed import open_tables
from service.features.stores import FeatureStores
from service.settings import Settings
from tests.support.faulty_proxy import FaultyProxy
from tests.support.redis_server import RedisServer
from training.publishing.redis_writer import RedisWriter

IDS = {"users": [f"u{row}" for row in range(40)], "items": [f"v{row}" for row in range(800)]}


@pytest.fixture(scope="module")
def encoder(world) -> Encoder:
    return world.load().encoder


@pytest.fixture
def publish(world, encoder) -> Callable[..., str]:
    """`publish(url)`: the world's rows into that Redis."""

    def publish(url: str, ids: dict[str, list[str]] | None = None) -> str:
        tables = open_tables(world.features, encoder)[1]
        writer, changed = RedisWriter(RedisUrl(url), encoder), 0
        for name, keys in (ids or IDS).items():
            table = tables[name]
            for _, news in writer.write(name, keys, table.records[table.find(keys)]):
                changed += news
        return writer.finish(bool(changed))

    return publish


@pytest.fixture
def published(redis_server: RedisServer, publish: Callable[..., str]) -> RedisServer:
    publish(redis_server.url)
    return redis_server


@pytest.fixture
def proxy(published: RedisServer) -> Iterator[FaultyProxy]:
    between = FaultyProxy(published.port)
    yield between
    between.close()


@pytest.fixture
def stores() -> Callable[..., FeatureStores]:
    """`stores(features, **settings)`."""

    def stores(features: str, **given) -> FeatureStores:
        return FeatureStores(Settings(bundle="unused", features=features, **given))

    return stores
