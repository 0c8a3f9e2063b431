"""Feature stores: from the setting to the store of each bundle. Holds what the stores of a process share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from model.encoding import Encoder
from model.redis_url import RedisUrl
from service.features.cache import ItemCache
from service.features.embedded import EmbeddedStore
from service.features.store import FeatureStore
from service.settings import Settings

if TYPE_CHECKING:
    from service.features.redis_link import RedisLink


class FeatureStores:
    """Opens stores: a bundle is served only once its generation is there.

    Raises:
        FulcrumError: the setting names no store.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._link: RedisLink | None = None
        if isinstance(settings.features, RedisUrl):
            from service.features.redis_link import RedisLink  # whose client takes long to import

            self._link = RedisLink(
                settings.features, settings.feature_timeout_ms / 1000.0, settings.feature_connections
            )

    def open(self, encoder: Encoder, await_rows: bool = False) -> FeatureStore:
        """The rows of this encoder. Blocks: not for the event loop.

        Args:
            encoder: of the bundle to be served.
            await_rows: whether a store that does not answer now, or is damaged, will do.

        Raises:
            FulcrumError: they are not there, or the store cannot be read; says how to mend it.
        """
        name = str(self._settings.features)
        if self._link is None:
            return EmbeddedStore(Path(name), encoder, await_rows)
        from service.features.redis_store import RedisStore

        cache = ItemCache(self._settings.feature_cache_items, self._settings.feature_cache_ttl_s)
        return RedisStore(self._link, encoder, cache, name, await_rows)

    @property
    def healthy(self) -> bool:
        """Whether the store answers; a service whose store does not goes on with default features."""
        return self._link is None or self._link.healthy

    async def close(self) -> None:
        """Close connections."""
        if self._link is not None:
            await self._link.close()
