"""Patches of a fusion config: what RFC 7386 says, and what is refused."""

import orjson
import pytest

from model.fusion import FusionError, canonical_json, fusion_of, patched
from model.fusion.patches import _merged

BASE = fusion_of(
    {
        "schema_version": 1,
        "scenes": {
            "default": {"tasks": {"vtr": {"weight": 1.0}, "shr": {"weight": 0.5, "smoothing": 0.1}}},
            "feed": {"tasks": {"vtr": {"weight": 2.0}}},
        },
    }
)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], {"a": "foo"}, {"a": "foo"}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_patches_merge_as_the_rfc_lists_it(target, patch, result):
    before = orjson.dumps(target)
    assert _merged(target, patch) == result
    assert orjson.dumps(target) == before


def test_a_patch_changes_what_it_names_and_nothing_else():
    changed = patched(BASE, {"scenes": {"default": {"tasks": {"shr": {"weight": 0.7}}}, "feed": None}})
    assert changed.scenes["default"].tasks["shr"].weight == 0.7
    assert changed.scenes["default"].tasks["shr"].smoothing == 0.1
    assert list(changed.scenes) == ["default"]
    assert canonical_json(patched(BASE, {})) == canonical_json(BASE)


@pytest.mark.parametrize(
    "patch", [{"scenes": None}, {"scenes": {"default": {"tasks": {"vtr": {"wait": 1}}}}}, {"more": 1}]
)
def test_what_makes_no_config_is_refused_by_name(patch):
    with pytest.raises(FusionError, match=r"arms\.new: "):
        patched(BASE, patch, "arms.new")
