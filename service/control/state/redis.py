"""The desired state in Redis, for several hosts. See `service/control/state/file.py`."""

from __future__ import annotations

import redis
import structlog

from model.redis_client import RedisRefusedError, check, connect, explained
from model.redis_url import RedisUrl
from service.control.state.desired import Desired, StateError, parse_desired

KEY = "fulcrum:state"
"""Of the document."""

_TIMEOUT_S = 0.5

log = structlog.get_logger(__name__)


class RedisState:
    """The desired state in Redis, for several hosts."""

    def __init__(self, url: RedisUrl) -> None:
        self._url = url
        self._redis = connect(url, _TIMEOUT_S)  # one short try: the next poll is the retry

    @property
    def name(self) -> str:
        """For messages."""
        return f"state {KEY} in {self._url}"

    def check(self, writes: bool) -> None:
        """Refuse a Redis that will not do what is needed; one that is away may yet come.

        Args:
            writes: whether the state will be written, too.

        Raises:
            FulcrumError: Redis answers, and refuses.
        """
        commands = {"GET": [KEY]}
        if writes:
            commands["SET"] = [KEY, "", "ONLY-TO-ASK"]  # there is no such option: it writes nothing
        try:
            doubt = check(self._redis, self.name, commands)
        except (redis.AuthenticationError, redis.ResponseError) as error:
            raise RedisRefusedError(f"{self.name}: Redis refuses ({explained(error)})") from None
        except (redis.RedisError, OSError) as error:
            log.error("state_away", state=self.name, error=explained(error))
        else:
            if doubt:
                log.warning("state_may_be_lost", state=self.name, why=doubt)

    def read(self) -> Desired:
        """What is wanted."""
        try:
            content = self._redis.get(KEY)
        except (redis.RedisError, OSError) as error:
            raise StateError(f"{self.name}: cannot be read ({explained(error)})") from None
        return Desired() if content is None else parse_desired(content, self.name)

    def write(self, desired: Desired) -> None:
        """Want this from now on."""
        try:
            self._redis.set(KEY, desired.model_dump_json(exclude_none=True))
        except (redis.RedisError, OSError) as error:
            if self._holds(desired):  # the answer was lost, not the document
                return
            raise StateError(f"{self.name}: cannot be written ({explained(error)})") from None

    def _holds(self, desired: Desired) -> bool:
        try:
            return self.read() == desired
        except StateError:
            return False
