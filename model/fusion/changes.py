"""Changes: what differs between two configs, in lines that people read. Knows no history."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from model.errors import dotted, shown
from model.fusion.config import FusionConfig, canonical_json

_ABSENT = object()
_ALONE = ("tasks", "segments")
"""Keys that say nothing beside what stands below them."""


def changes(before: FusionConfig, after: FusionConfig) -> list[str]:
    """What is different in `after`, a line each: `default: vtr.weight 0.2 -> 0.4`.

    Of what both leave to defaults there is no line, of a scene that only one has there is one.
    """
    old, new = (orjson.loads(canonical_json(config))["scenes"] for config in (before, after))
    lines = [f"{name}: removed" for name in old if name not in new]
    for name, scene in new.items():
        if name not in old:
            lines.append(f"{name}: new, {scene['formula']}")
            continue
        earlier, later = (dict(_leaves(each)) for each in (old[name], scene))
        for path in {**earlier, **later}:
            was, now = earlier.get(path, _ABSENT), later.get(path, _ABSENT)
            if was != now:
                lines.append(f"{name}: {_named(path)} {_spelt(was)} -> {_spelt(now)}")
    return lines


def _leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _leaves(below, (*path, key))
    elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        for index, below in enumerate(value):
            name = below.get("name", index) if isinstance(below, Mapping) else index
            yield from _leaves(below, (*path, name))
    else:
        yield path, value


def _named(path: tuple[str | int, ...]) -> str:
    return dotted([part for part in path if part not in _ALONE] or path)


def _spelt(value: Any) -> str:
    if value is _ABSENT:
        return "none"
    return (
        f"{value:.6g}"
        if isinstance(value, float)
        else str(value)
        if isinstance(value, list)
        else shown(value)
    )
