"""Patches: what differs from a fusion config, as a JSON merge patch (RFC 7386) on its canonical form.

    {"scenes": {"feed": {"tasks": {"shr": {"weight": 0.45}}}}}

Mappings are merged key by key, null takes a key away, lists and values are replaced. Knows no store.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from model.fusion.config import FusionConfig, canonical_json, fusion_of


def patched(base: FusionConfig, patch: Mapping[str, Any], source: str | Path | None = None) -> FusionConfig:
    """The config that a patch makes of another; `source` names the patch in errors.

    Raises:
        FusionError: what comes of it is no config; names the path of what is wrong.
    """
    return fusion_of(_merged(orjson.loads(canonical_json(base)), patch), source)


def _merged(target: object, patch: object) -> object:
    """As RFC 7386, section 2, says it."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged
