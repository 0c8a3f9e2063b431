"""Opening the desired state: in a file, or in Redis."""

from __future__ import annotations

from pathlib import Path

from model.redis_url import RedisUrl
from service.control.state.desired import StateStore
from service.control.state.file import FileState


def open_state(where: Path | RedisUrl) -> StateStore:
    """The state in a file, or in Redis."""
    if isinstance(where, Path):
        return FileState(where)
    from service.control.state.redis import RedisState  # whose client takes long to import

    return RedisState(where)
