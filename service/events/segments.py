"""Segment: one file of exposures, from its first batch to its end. Decides not which exposures it holds.

A segment is an Arrow IPC stream, appended to by whole batches and locked as long as its writer lives: who
finds it unlocked may seal it. What a crash tears off is its last batch at most.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import ipc

_END = 8
"""Bytes that end a stream."""
_OPTIONS = ipc.IpcWriteOptions(compression="zstd", use_threads=False)


class Segment:
    """A new segment; makes its file, and its folder where absent.

    Args:
        folder: of the hour; its parent's parent must be there.
        time_ms: now, for the name.
        schema: of its batches.

    Attributes:
        path: of the file.
        size: bytes of whole batches; 0 before the first.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, folder: Path, time_ms: int, schema: pa.Schema) -> None:
        for made in (folder.parent, folder):
            made.mkdir(exist_ok=True)
        self.path = folder / f"{time_ms}-{secrets.token_hex(6)}.arrow"
        self.schema = schema
        self.size = 0
        self._head = len(_stream(schema)) - _END
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        self._descriptor = os.open(self.path, flags, 0o644)
        try:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)  # who seals may have looked into it meanwhile
            if not self.is_there:
                raise FileNotFoundError(errno.ENOENT, "a new segment was removed", str(self.path))
        except BaseException:
            os.close(self._descriptor)
            raise

    @property
    def is_there(self) -> bool:
        """Whether its name still leads to it: what is written to a file that was removed, nobody finds."""
        try:
            found = self.path.stat()
        except OSError:
            return False
        return os.path.samestat(found, os.fstat(self._descriptor))

    def write(self, batch: pa.RecordBatch) -> int:
        """Append a batch, whole: bytes written.

        Raises:
            OSError: it is not in the file, which takes no more; `close` it.
        """
        stream = _stream(self.schema, batch)
        rest = stream[self._head if self.size else 0 : -_END]
        written = len(rest)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self.size += written
        return written

    def close(self) -> None:
        """End the stream and unlock the file; a torn batch is cut off, a file without any is removed."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, self.size)
            if self.size:
                os.write(self._descriptor, _stream(self.schema)[-_END:])
            elif self.is_there:
                self.path.unlink()
        os.close(self._descriptor)


def _stream(schema: pa.Schema, *batches: Any) -> memoryview:
    """Schema, batches and end, as they stand in a file."""
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, schema, options=_OPTIONS) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return memoryview(sink.getvalue())
