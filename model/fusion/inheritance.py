"""What a scene takes over: from the scene that is its `base`, and a segment from its scene. Documents alone.

Mappings are merged key by key, lists and values replaced. `kind` names what the keys beside it mean, so a
mapping of another kind replaces whole; a scene of another formula takes over neither tasks nor segments.
After this a config says everything itself: its hash is that of its meaning, however it was written.
"""

import json
from collections.abc import Mapping
from typing import Any

from model.errors import dotted, listed, shown
from model.fusion.bounds import MAX_BYTES
from model.fusion.errors import FusionError
from model.fusion.scene import MOST_SEGMENTS

_MOST_BYTES = 8 * MAX_BYTES
_DEEPEST = 10
_DEFAULT = "log_power"


def resolved(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with what scenes and segments take over written out.

    What is not shaped like a config is left as it is, for who judges the whole.

    Raises:
        FusionError: a base that there is not or that leads back to itself, too many segments, or a config
            that is too large when written out.
    """
    scenes = document.get("scenes")
    if not isinstance(scenes, Mapping):
        return dict(document)
    found: dict[str, Any] = {}
    size = 0
    for name in scenes:
        found[name] = _with_segments(name, _scene(name, scenes))
        size += len(json.dumps(found[name]))
        if size > _MOST_BYTES:
            raise FusionError(
                f"scenes take more than {_MOST_BYTES // 1024} KiB with what they inherit; expected less"
            )
    return {**document, "scenes": found}


def _scene(name: str, scenes: Mapping[str, Any]) -> Any:
    """A scene with what it takes over from its bases."""
    chain: list[Any] = []
    above, seen = name, [name]
    while isinstance(scene := scenes[above], Mapping) and "base" in scene:
        chain.append({key: value for key, value in scene.items() if key != "base"})
        base, where = scene["base"], dotted(("scenes", above, "base"))
        if not isinstance(base, str) or base not in scenes:
            raise FusionError(f"{where}: unknown scene {shown(base)}; there are {listed(scenes)}")
        if base in seen:
            raise FusionError(f"{where}: {shown(base)} leads back to itself; expected no circle")
        above = base
        seen.append(base)
        if len(seen) > _DEEPEST:
            raise FusionError(f"{where}: more than {_DEEPEST} scenes one upon the other; expected fewer")
    if not isinstance(scene, Mapping):
        return scene
    for heir in reversed(chain):
        scene = _inherited(scene, heir)
    return scene if "formula" in scene else {"formula": _DEFAULT, **scene}


def _inherited(base: Mapping[str, Any], heir: Mapping[str, Any]) -> Mapping[str, Any]:
    formula = base.get("formula", _DEFAULT)
    if heir.get("formula", formula) != formula:
        common = ("video_len", "calibration", "explore")
        base = {key: value for key, value in base.items() if key in common}
    return _merged(base, heir)


def _with_segments(name: str, scene: Any) -> Any:
    if not isinstance(scene, Mapping) or not isinstance(scene.get("segments"), list):
        return scene
    if (count := len(scene["segments"])) > MOST_SEGMENTS:  # here: written out, they may be huge
        where = dotted(("scenes", name, "segments"))
        raise FusionError(f"{where}: expected at most {MOST_SEGMENTS} values, found a list of {count}")
    taken = {"tasks": scene.get("tasks", {}), "video_len": scene.get("video_len", {"kind": "none"})}
    segments = [_merged(taken, one) if isinstance(one, Mapping) else one for one in scene["segments"]]
    return {**scene, "segments": segments}


def _merged(base: Mapping[str, Any], heir: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in heir.items():
        before = base.get(key)
        merged[key] = value
        if value is None:
            del merged[key]
        elif isinstance(value, Mapping) and isinstance(before, Mapping):
            kind = value.get("kind")  # a mapping where that is a task's name
            other = isinstance(kind, str) and kind != before.get("kind")
            merged[key] = value if other else _merged(before, value)
    return merged
