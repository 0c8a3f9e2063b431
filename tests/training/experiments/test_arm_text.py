"""What an arm has, in a line."""

from __future__ import annotations

import pytest

from training.experiments.arm_text import patch_lines, what_it_has


@pytest.mark.parametrize(
    ("patch", "lines"),
    [
        ({"scenes": {"feed": {"tasks": {"shr": {"weight": 1.5}}}}}, ["feed: shr.weight = 1.5"]),
        ({"scenes": {"feed": {"tasks": {"shr": None}}}}, ["feed: shr goes"]),
        ({"scenes": {"feed": None}}, ["scene feed goes"]),
        (
            {"scenes": {"feed": {"video_len": {"weight": 0, "kind": "log"}}}},
            ["feed: video_len.weight = 0", 'feed: video_len.kind = "log"'],
        ),
        ({"scenes": None, "other": {}}, ["scenes goes", "other = {}"]),
        ({}, []),
    ],
)
def test_a_patch_is_told_value_by_value(patch, lines):
    assert patch_lines(patch) == lines


def test_an_arm_names_its_bundle_and_its_fusion():
    assert (
        what_it_has({"bundle": "sha256:" + "ab" * 32, "revision": 3})
        == "bundle sha256:abababababab, revision 3"
    )
    assert what_it_has({"bundle": None, "revision": None, "patch": None}) == "what is active"
    assert what_it_has({"patch": {}}) == "what is active"
