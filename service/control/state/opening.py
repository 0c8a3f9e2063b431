"""Opening the desired state: a file, or Redis behind a URL."""

from __future__ import annotations

from pathlib import Path

from service.control.state.desired import StateStore
from service.control.state.file import FileState

__all__ = ["open_state"]


def open_state(where: str) -> StateStore:
    """The state in a file, or behind a redis:// URL."""
    if "://" not in where:
        return FileState(Path(where))
    from service.control.state.redis import RedisState  # whose client takes long to import

    return RedisState(where)
