"""Opening the desired state: in a file, or in Redis."""

from __future__ import annotations

from pathlib import Path

from model.redis_url import RedisUrl
from service.control.state.desired import StateStore
from service.control.state.file import FileState


def open_state(where: Path | RedisUrl, writes: bool = False) -> StateStore:
    """The state in a file, or in Redis.

    Args:
        where: its place.
        writes: whether Redis must let it be written, too.

    Raises:
        FulcrumError: Redis answers, and refuses.
    """
    if isinstance(where, Path):
        return FileState(where)
    from service.control.state.redis import RedisState  # whose client takes long to import

    state = RedisState(where)
    state.check(writes)
    return state
