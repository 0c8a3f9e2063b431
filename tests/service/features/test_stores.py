"""Feature stores: from the setting to the store of a bundle."""

from __future__ import annotations

import asyncio

import pytest

from model.errors import FulcrumError
from service.features.embedded import EmbeddedStore
from service.features.redis_store import RedisStore
from service.features.stores import FeatureStores
from service.settings import Settings


def stores(features) -> FeatureStores:
    return FeatureStores(Settings(bundle="unused", features=str(features), feature_timeout_ms=50))


def test_a_folder_is_an_embedded_store_that_is_always_healthy(world, encoder):
    opened = stores(world.features)
    assert isinstance(opened.open(encoder), EmbeddedStore)
    assert opened.healthy
    asyncio.run(opened.close())


def test_a_folder_without_the_encoders_rows_is_refused(tmp_path, encoder):
    with pytest.raises(FulcrumError, match=encoder.fingerprint[:8]):
        stores(tmp_path).open(encoder)


def test_a_redis_url_is_a_redis_store(redis_server, encoder, publish):
    generation = publish(redis_server.url)
    opened = stores(redis_server.url)
    store = opened.open(encoder)
    assert isinstance(store, RedisStore)
    assert store.generation == generation
    asyncio.run(opened.close())


def test_a_redis_that_is_away_is_refused_without_its_password_unless_it_is_awaited(encoder):
    opened = stores("redis://someone:secret@127.0.0.1:1/0")
    with pytest.raises(FulcrumError, match=r"127\.0\.0\.1:1") as refused:
        opened.open(encoder)
    assert "secret" not in str(refused.value)
    assert opened.open(encoder, await_rows=True).generation is None
