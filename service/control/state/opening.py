"""Opening the desired state and the control store: in a file, or in Redis."""

from __future__ import annotations

from pathlib import Path

from model.redis_url import RedisUrl
from service.control.state.control import ControlStore
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


def open_control(where: Path | RedisUrl) -> ControlStore:
    """The control store in a SQLite database, which is made where there is none, or in Redis.

    Holds nothing open when it returns: processes may be forked.

    Raises:
        FulcrumError: the file cannot be made or written, or is something else; Redis answers, and refuses or
            would not keep what it acknowledges.
    """
    if isinstance(where, Path):
        from service.control.state.sqlite import SqliteControl  # SQLite, for who needs it

        database = SqliteControl(where)
        database.make()
        return database
    from service.control.state.redis_control import RedisControl

    store = RedisControl(where)
    store.check()
    return store
