"""Every kind of f against its formula written out for one number, and the laws that hold for every kind."""

import math
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.fusion import LengthFactor, canonical_json, duration_factor, parse_fusion
from model.fusion.lengths import (
    LengthKind,
    LogLength,
    LognormalLength,
    NoLength,
    PiecewiseLength,
    SigmoidLength,
    TableLength,
)
from tests.support.properties import examples

KINDS = get_args(get_args(LengthKind)[0])

seconds = st.floats(0, 1e5)
scales = st.floats(1e-2, 1e4)
levels = st.floats(0, 10)
steps = st.lists(seconds, min_size=1, max_size=6, unique=True).map(sorted)


def close(video_len, s, literal):
    """f of one length, alone and among others, is the literal value above the floor."""
    expected = max(literal, 1e-3)
    alone = duration_factor(video_len, np.array([s]))
    among = duration_factor(video_len, np.array([1.0, np.nan, s, 7.0]))
    assert alone[0] == among[2]
    assert alone.dtype == np.float64
    assert alone[0] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@examples(50)
@given(seconds)
def test_none_is_one(s):
    close(NoLength(), s, 1.0)


@examples(50)
@given(seconds, scales)
def test_log_is_log1p_of_the_scaled_length(s, scale):
    close(LogLength(scale_s=scale), s, math.log1p(s / scale))


@examples(50)
@given(seconds, st.floats(-1e3, 1e4), st.floats(100, 1e4))
def test_sigmoid_rises_around_its_middle(s, mid, width):
    close(SigmoidLength(mid_s=mid, width_s=width), s, 1 / (1 + math.exp(-(s - mid) / width)))


@examples(50)
@given(st.floats(1e-3, 1e5), scales, st.floats(0.1, 5))
def test_lognormal_peaks_at_its_mode(s, mode, sigma):
    close(LognormalLength(mode_s=mode, sigma=sigma), s, math.exp(-(math.log(s / mode) ** 2) / (2 * sigma**2)))


def literal_piecewise(points, s):
    if s <= points[0][0]:
        return points[0][1]
    for (s0, f0), (s1, f1) in pairwise(points):
        if s < s1:
            return f0 + (f1 - f0) * ((s - s0) / (s1 - s0))
    return points[-1][1]


@examples(50)
@given(steps, st.lists(levels, min_size=6, max_size=6), seconds)
def test_piecewise_is_linear_between_points_and_flat_beyond(at, f, s):
    points = tuple(zip(at, f, strict=False))
    for point in (s, *at):
        close(PiecewiseLength(points=points), point, literal_piecewise(points, point))


def literal_table(edges, values, s):
    for edge, value in zip(edges, values, strict=False):
        if s < edge:
            return value
    return values[-1]


@examples(50)
@given(steps, st.lists(levels, min_size=7, max_size=7), seconds)
def test_table_steps_up_at_each_edge(edges, values, s):
    values = tuple(values[: len(edges) + 1])
    for point in (s, *edges):
        close(TableLength(edges_s=tuple(edges), values=values), point, literal_table(edges, values, point))


EXAMPLES = [
    NoLength(),
    LogLength(scale_s=30.0),
    LogLength(scale_s=5e-324),
    LogLength(scale_s=1e308),
    SigmoidLength(mid_s=30.0, width_s=5e-324),
    SigmoidLength(mid_s=-1e308, width_s=1e-300),
    SigmoidLength(mid_s=1e308, width_s=10.0),
    PiecewiseLength(points=((0.0, 0.0),)),
    PiecewiseLength(points=((0.0, 0.0), (5e-324, 1e308), (1e308, 0.0))),
    PiecewiseLength(points=((1.0, 0.0), (math.nextafter(1.0, 2.0), 1e308))),
    TableLength(edges_s=(), values=(0.0,)),
    TableLength(edges_s=(0.0, 1e308), values=(0.0, 1.0, 2.0)),
    LognormalLength(mode_s=30.0, sigma=5e-324),
    LognormalLength(mode_s=5e-324, sigma=1e308),
    LognormalLength(mode_s=1e308, sigma=0.5),
]
"""Of every kind, with settings at the ends of what its fields take: the laws below hold for each."""

every_example = pytest.mark.parametrize("video_len", EXAMPLES, ids=lambda one: one.kind)


def test_every_kind_is_written_once_and_has_an_example():
    assert set(KINDS) == set(LengthFactor.__subclasses__()) == set(map(type, EXAMPLES))


@every_example
def test_extremes_stay_finite_and_above_the_floor_without_a_warning(video_len):
    extreme = np.array(
        [0.0, 5e-324, 1e-300, 1.0, 30.0, 1e15, 1e308, np.finfo(float).max, np.inf, -1.0, np.nan]
    )
    f = duration_factor(video_len, extreme)
    assert np.isfinite(f).all()
    assert (f >= 1e-3).all()
    assert f[-1] == 1.0
    assert f[-2] == f[0], "a length below zero counts as zero"
    assert [duration_factor(video_len, np.array([s]))[0] for s in extreme] == f.tolist()


@every_example
def test_an_unknown_length_gives_missing_with_the_same_floor(video_len):
    nothing = np.array([np.nan])
    for missing, f in ((0.25, 0.25), (1e-9, 1e-3)):
        assert duration_factor(video_len.model_copy(update={"missing": missing}), nothing) == [f]


@every_example
def test_no_candidates_give_no_factors(video_len):
    assert duration_factor(video_len, np.empty(0)).shape == (0,)


@every_example
def test_a_config_names_the_kind_and_its_canonical_form_means_the_same(video_len):
    scene = f"{{tasks: {{}}, video_len: {video_len.model_dump_json()}}}"
    config = parse_fusion(f"schema_version: 1\nscenes: {{default: {scene}}}")
    assert config.scenes["default"].video_len == video_len
    assert parse_fusion(canonical_json(config).decode()) == config


@pytest.mark.parametrize("kind", KINDS)
def test_the_documentation_describes_every_kind_with_all_its_settings(kind):
    text = (Path(__file__).parents[3] / "docs" / "fusion.md").read_text()
    name = kind.model_fields["kind"].default
    (row,) = (line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
    own = kind.model_fields.keys() - LengthFactor.model_fields.keys() - {"kind"}
    assert {field for field in own if f"{field}`" not in row and f"`{field}:" not in row} == set()
