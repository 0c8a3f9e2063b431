"""Records: small files that are replaced whole, and the time as they say it. Knows no meaning of theirs."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["now", "replace_file"]


def now() -> str:
    """UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def replace_file(path: Path, content: bytes, durable: bool = False) -> None:
    """Put `content` in place of the file: a reader sees the old or the new; if `durable`, a power cut too."""
    # One name a process: no two of its threads write the same record, and paths are interned.
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
