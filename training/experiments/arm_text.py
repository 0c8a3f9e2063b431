"""Arms for people: what an arm has, in a line. Knows no terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def what_it_has(arm: Mapping[str, Any]) -> str:
    """The bundle, the revision and what a patch sets; `what is active` of one that has nothing of its own."""
    has = []
    if arm.get("bundle"):
        has.append(f"bundle {arm['bundle'][:19]}")
    if arm.get("revision"):
        has.append(f"revision {arm['revision']}")
    if arm.get("patch") is not None:
        has += patch_lines(arm["patch"])
    return ", ".join(has) or "what is active"


def patch_lines(patch: Mapping[str, Any]) -> list[str]:
    """What a merge patch sets, a value each: `default: shr.weight = 1.5`."""
    found = []
    for path, value in _values(patch, ()):
        scene, rest = ("", path) if path[0] != "scenes" or len(path) < 2 else (path[1], path[2:])
        name = ".".join(rest[1:] if scene and rest[:1] == ("tasks",) else rest)
        what = f"{scene}: {name}" if scene and name else f"scene {scene}" if scene else name
        found.append(f"{what} goes" if value is None else f"{what} = {json.dumps(value)}")
    return found


def _values(patch: Mapping[str, Any], at: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in patch.items():
        if isinstance(value, Mapping) and value:
            yield from _values(value, (*at, name))
        else:
            yield (*at, name), value
