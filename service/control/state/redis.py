"""The desired state in Redis, for several hosts. See `service/control/state/file.py`."""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from model.redis_url import RedisUrl
from service.control.state.desired import Desired, StateError, parse_desired

KEY = "fulcrum:state"
"""Of the document."""

_TIMEOUT_S = 0.5


class RedisState:
    """The desired state in Redis, for several hosts."""

    def __init__(self, url: RedisUrl) -> None:
        self._url = url
        # One short try: the next poll is the retry.
        self._redis = redis.Redis.from_url(
            url.secret,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )

    @property
    def name(self) -> str:
        """For messages."""
        return f"state {KEY} in {self._url}"

    def read(self) -> Desired:
        """What is wanted."""
        try:
            content = self._redis.get(KEY)
        except redis.RedisError as error:
            raise StateError(f"{self.name}: cannot be read ({error})") from error
        return Desired() if content is None else parse_desired(content, self.name)

    def write(self, desired: Desired) -> None:
        """Want this from now on."""
        try:
            self._redis.set(KEY, desired.model_dump_json(exclude_none=True))
        except redis.RedisError as error:
            if self._holds(desired):  # the answer was lost, not the document
                return
            raise StateError(f"{self.name}: cannot be written ({error})") from error

    def _holds(self, desired: Desired) -> bool:
        try:
            return self.read() == desired
        except StateError:
            return False
