"""Knobs: which numbers of a scene can be changed, how sliders move, and what becomes of the scene."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from model.fusion import parse_fusion
from service.console.play.knobs import KINDS, STEPS, fixed_parts, knobs, with_kind, with_value

LOG_POWER: dict[str, Any] = {
    "formula": "log_power",
    "tasks": {"vtr": {"weight": 0.4, "smoothing": 0.05}, "shr": {"weight": -1.0}},
    "video_len": {"kind": "log", "scale_s": 30.0, "weight": 0.3, "missing": 1.0},
}
SUM: dict[str, Any] = {
    "formula": "weighted_sum",
    "tasks": {"vtr": {"price": 1.0}, "shr": {"price_per_s": 0.2}},
}
ENSEMBLE: dict[str, Any] = {"formula": "rank_ensemble", "k": 60.0, "tasks": {"vtr": {"weight": 1.0}}}
LEARNED: dict[str, Any] = {"formula": "model", "file": "n.onnx", "inputs": ["vtr"], "fallback": "default"}


def sound(scene: dict[str, Any]) -> bool:
    parse_fusion(orjson.dumps({"schema_version": 1, "scenes": {"default": scene}}).decode())
    return True


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        (
            LOG_POWER,
            ["vtr weight", "vtr smoothing", "shr weight", "shr smoothing", "cmr weight", "cmr smoothing"],
        ),
        (SUM, ["vtr price", "vtr price per second", "shr price", "shr price per second", "cmr price"]),
        (ENSEMBLE, ["vtr weight", "cmr weight", "formula k"]),
        (LEARNED, []),
    ],
)
def test_each_formula_has_its_numbers_and_tasks_that_it_leaves_out(
    scene: dict[str, Any], expected: list[str]
) -> None:
    names = [one.name for one in knobs(scene, ["vtr", "cmr"])]
    assert [name for name in names if name in expected] == expected
    assert all(
        name.startswith("video_len") or name.split()[0] in ("vtr", "shr", "cmr", "formula") for name in names
    )


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_length_begins_sound_and_stays_so_wherever_its_sliders_go(kind: str) -> None:
    scene = with_kind(LOG_POWER, kind)
    assert scene["video_len"]["weight"] == 0.3
    for knob in knobs(scene):
        for position in (0, 1, STEPS // 3, STEPS):
            assert sound(with_value(scene, knob.path, knob.of(position))), knob


@pytest.mark.parametrize("scene", [LOG_POWER, SUM, ENSEMBLE])
def test_a_task_that_was_left_out_takes_a_weight(scene: dict[str, Any]) -> None:
    for knob in knobs(scene, ["cmr"]):
        assert sound(with_value(scene, knob.path, knob.of(STEPS)))


@pytest.mark.parametrize("scene", [LOG_POWER, SUM, ENSEMBLE])
def test_a_slider_stands_where_its_value_is(scene: dict[str, Any]) -> None:
    for knob in knobs(scene):
        assert knob.low <= knob.value <= knob.high or knob.value == 0.0, knob
        step = knob.value * 0.05 if knob.log else (knob.high - knob.low) / STEPS
        assert knob.of(knob.at(knob.value)) == pytest.approx(knob.value, abs=step), knob
        assert 0 <= knob.at(knob.most) <= STEPS


def test_a_smoothing_can_be_none_and_moves_by_factors() -> None:
    smoothing = next(one for one in knobs(LOG_POWER) if one.name == "vtr smoothing")
    assert smoothing.of(0) == 0.0
    assert smoothing.at(0.0) == 0
    assert smoothing.of(201) / smoothing.of(200) == pytest.approx(
        smoothing.of(301) / smoothing.of(300), rel=0.02
    )


def test_a_change_leaves_the_scene_as_it_was() -> None:
    before = orjson.dumps(LOG_POWER)
    changed = with_value(LOG_POWER, ("tasks", "vtr", "weight"), 2.0)
    with_kind(LOG_POWER, "table")
    assert changed["tasks"]["vtr"] == {"weight": 2.0, "smoothing": 0.05}
    assert orjson.dumps(LOG_POWER) == before


def test_what_no_slider_changes_is_said() -> None:
    segments = {**LOG_POWER, "segments": [{"name": "night"}], "explore": {"share": 0.05, "noise": 0.2}}
    assert "night" in " ".join(fixed_parts(segments))
    assert "5 %" in " ".join(fixed_parts(segments))
    assert "scene default ranks" in " ".join(fixed_parts(LEARNED))
