"""Frames: what a worker and its helper send each other. A head, which is JSON, and a body of bytes.

Knows no meaning of either.
"""

from __future__ import annotations

import struct
from typing import Any

import orjson

SIZES = struct.Struct(">II")
"""Bytes of the head and of the body; both follow."""

Head = dict[str, Any]


def frame(head: Head, body: bytes = b"") -> bytes:
    """A frame as it is sent."""
    text = orjson.dumps(head)
    return b"".join((SIZES.pack(len(text), len(body)), text, body))
