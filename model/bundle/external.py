"""External data: which files beside an ONNX graph hold its weights; and whether the graph has loops.

Reads its structure, not the weights. The service has no onnx, and onnxruntime opens whatever file a graph
names: so the few fields of the protobuf format that lead to such a name are followed here, and all others are
passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import BinaryIO

_ENTRY = "StringStringEntryProto"
_INNER_GRAPH = "GraphProto of a node"
_GRAPH: Mapping[int, str] = {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"}
_FIELDS: Mapping[str, Mapping[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": _GRAPH,
    _INNER_GRAPH: _GRAPH,
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: _INNER_GRAPH,
        10: "TensorProto",
        11: _INNER_GRAPH,
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {13: _ENTRY},
}
"""Messages of onnx.proto by the number of the field that holds them."""

_KEY, _VALUE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_TEXT = 4096
"""Bytes of a file's name."""


def external_files(file: BinaryIO) -> set[str]:
    """Names of the files that the tensors of an ONNX graph lie in, as the graph spells them.

    Raises:
        ValueError: the file is no protobuf message.
        OSError: it cannot be read.
    """
    found = set()
    for kind, start, end in _messages(file):
        if kind == _ENTRY:
            text = {
                number: _text(file, begin, stop)
                for number, begin, stop in _fields(file, start, end)
                if number in (_KEY, _VALUE)
            }
            if text.get(_KEY) == "location":
                found.add(text.get(_VALUE, ""))
    return found


def has_inner_graphs(file: BinaryIO) -> bool:
    """Whether a node of an ONNX graph runs a graph of its own, as Loop, Scan and If do.

    Raises:
        ValueError, OSError: as `external_files`.
    """
    return any(kind == _INNER_GRAPH for kind, _, _ in _messages(file))


def _messages(file: BinaryIO) -> Iterator[tuple[str, int, int]]:
    """All messages of a file as far as `_FIELDS` leads: kind, begin and end."""
    messages = [("ModelProto", 0, file.seek(0, os.SEEK_END))]
    while messages:
        kind, start, end = messages.pop()
        yield kind, start, end
        inner = _FIELDS.get(kind, {})
        messages += [
            (inner[number], begin, stop)
            for number, begin, stop in (_fields(file, start, end) if inner else ())
            if number in inner
        ]


def _fields(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields of a message that have a length: number, begin and end of the content."""
    file.seek(start)
    here = start
    while here < end:
        tag = _varint(file)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            _varint(file)
            here = file.tell()
            continue
        if wire not in (_FIXED64, _BYTES, _FIXED32):
            raise ValueError(f"damaged at byte {here}")
        size = _varint(file) if wire == _BYTES else 8 if wire == _FIXED64 else 4
        begin = file.tell()
        here = begin + size
        if here > end:
            raise ValueError(f"damaged at byte {begin}: a field ends beyond its message")
        if wire == _BYTES:
            yield number, begin, here
        file.seek(here)


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("it ends in the middle of a field")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("damaged: a number of more than ten bytes")


def _text(file: BinaryIO, begin: int, end: int) -> str:
    if end - begin > _MOST_TEXT:
        raise ValueError(f"damaged at byte {begin}: a name of {end - begin} bytes")
    file.seek(begin)
    return file.read(end - begin).decode("utf-8", "replace")
