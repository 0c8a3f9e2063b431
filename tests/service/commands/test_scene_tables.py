"""Scenes for people: every formula's terms, in 80 columns."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from model.fusion import parse_fusion
from service.commands.scene_tables import scene_tables

CONFIG = """
schema_version: 1
scenes:
  default:
    formula: weighted_sum
    tasks: {vcr: {price: 0.5, price_per_s: 0.02}, shr: {price: 15.0, a: 0.01, b: 0.9}, cmr: {price_per_s: 3}}
    video_len: {kind: log, scale_s: 30.0, weight: 0.5}
    calibration:
      shr:
        map: {kind: platt, a: -0.1, b: 0.9}
        segments: [{when: {video_len_s: {below: 7}}, map: {kind: isotonic, points: [[0.0, 0.0], [1.0, 0.9]]}}]
    segments:
      - {name: evening, when: {tab: [feed, friends], hour: {from: 18, below: 24}}, tasks: {shr: {price: 20}}}
      - {name: new, when: {is_new: true}, tasks: {vtr: {price: 1, b: 2}}, video_len: {weight: 0}}
      - {name: same, when: {hour: 3}}
    explore: {share: 0.05, noise: 0.2, unit: user_week}
  plus: {base: default, combine: plus, calibration: null, segments: null}
  product:
    tasks: {vtr: {weight: 1.0}, "s[red]": {weight: 0.3, smoothing: 0.02, clip: [0.001, 0.9]}}
    segments: [{name: x, when: {tab: a}, tasks: {vtr: {weight: 2, smoothing: 0.1}}}]
  ranks:
    formula: rank_ensemble
    tasks: {vtr: {weight: 1.0}}
    video_len: {kind: log, scale_s: 30.0}
    explore: {share: 0.0001, noise: 0.2}
  learned:
    formula: model
    file: score.onnx
    sha256: SHA
    inputs: [vtr, video_len_s]
    fallback: product
    calibration: {vtr: {}}
""".replace("SHA", "ab" * 32)
LINES = {
    "default": [
        "vcr 0.5 + 0.02 s p",
        "shr 15 0.01 + 0.9 calibrated p",
        "cmr 3 s p",
        "video_len 0.5 all times f^weight; f: log missing 1, scale_s 30",
        "s seconds, 600 at most; 0 where unknown",
        "vtr 0 left out of the config",
        "shr where video_len_s below 7 isotonic: 2 points from (0, 0) to (1,",
        "shr else platt: sigmoid(-0.1 + 0.9 logit p)",
        "evening tab feed or friends, hour from 18 shr 20",
        "new is_new true vtr (1) * (2 p), video_len 0",
        "same hour 3 as the scene",
        "explore: 5 % of units (user and week), noise 0.2, of cmr, shr, vcr, video_len",
    ],
    "plus": ["video_len 0.5 f; f: log missing 1, scale_s 30", "shr 15 0.01 + 0.9 p"],
    "product": [
        "vtr 1 log(clip(p, 1e-06, 1))",
        "s[red] 0.3 log(clip(p, 0.001, 0.9) + 0.02)",
        "video_len 0 none: the length does not count",
        "x tab a vtr 2 * log(clip(p, 1e-06, 1) + 0.1)",
    ],
    "ranks": [
        "vtr 1 1 / (60 + rank of p)",
        "video_len 1 1 / (60 + rank of f); f: log missing 1, scale_s 30",
        "explore: 0.0001 of units (request), noise 0.2, of video_len, vtr",
    ],
    "learned": [
        "vtr input 0: calibrated p",
        "video_len_s input 1: seconds",
        "network score.onnx, sha256 abababababab...",
        "fallback scene product",
        "vtr everywhere platt: sigmoid(0 + 1 logit p)",
    ],
}


@pytest.mark.parametrize("name", LINES)
def test_a_scene_is_shown_with_what_each_term_is(name: str) -> None:
    console = Console(file=io.StringIO(), width=80)
    for part in scene_tables(name, parse_fusion(CONFIG).scenes[name], ["vtr"]):
        console.print(part, highlight=False)
    shown = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    lines = [" ".join(line.split()) for line in shown]
    for line in LINES[name]:
        assert line in lines, "\n".join(shown)
    assert max(map(len, shown)) <= 80
