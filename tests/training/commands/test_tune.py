"""`fulcrum tune`: what it prints and writes, and what it refuses in one line."""

from __future__ import annotations

import re

import numpy as np
import orjson
import pytest

from model.fusion import load_fusion, version
from tests.support.world_logs import TASKS, WorldRequests, by_truth
from tests.support.written_logs import write_joined
from tests.training.tuning.test_exposure import CONFIG, exploring
from training.simulation import World, WorldConfig

SHORT = ("--method", "least_squares", "--examination", "0.95")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A joined log of 3,300 requests that explored, in a world in which shares are frequent."""
    folder = tmp_path_factory.mktemp("joined")
    world = World.create(WorldConfig(users=900, items=200, days=1, response={"share_base": -2.0}))
    visits = WorldRequests.of(world, 3_300, by_truth(0.2))
    write_joined(visits.log(exploring(CONFIG), np.random.default_rng(0)), folder, "sha256:bundle")
    return folder


@pytest.fixture
def tune(out, demo_bundle, called, monkeypatch, tmp_path):
    """Run the command on that log: exit status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    return lambda *words: called("tune", "bundle", "--log", out, "--out", "new/fusion.yaml", *words)


def test_a_better_config_is_written_with_its_forecast_and_its_page(tune, tmp_path):
    status, text, err = tune(
        *SHORT, "--json", "--report", "page", "--run", "run", "--front", "vcr * video_len_s"
    )
    said = orjson.loads(text)
    assert status == 0, err
    assert said["verdict"] == "better"
    assert said["formula"] == "weighted_sum"
    assert said["method"] == "least_squares"
    low, high = said["interval"]
    assert 0.0 < low < said["forecast"] < high
    config = load_fusion(tmp_path / said["out"])
    assert version(config) == said["version"]
    assert config.scenes["default"].explore is not None
    assert "forecast +" in (tmp_path / said["out"]).read_text().splitlines()[0]
    assert (tmp_path / "run" / "least_squares-weighted_sum.json").is_file()
    page = (tmp_path / "page" / "index.html").read_text()
    assert "weighted_sum of least_squares is better" in page
    assert 'href="diff.html"' in page
    assert (tmp_path / "page" / "diff.html").is_file()
    assert not re.search(r"https?://|src=|url\(|<script|@import|nan|None", page)
    assert "prefers-color-scheme: dark" in page
    details = orjson.loads((tmp_path / "page" / "tune.json").read_bytes())["details"]
    assert {one["name"] for one in details["behaviours"]} == {*TASKS, "vcr * video_len_s"}
    assert "GAUC of shr" in details["orders"]


def test_nothing_better_is_an_answer_without_a_file(tune, out, tmp_path):
    status, text, _ = tune(*SHORT, "--keep", "vtr >= 50%")
    assert status == 0
    assert max(map(len, text.splitlines())) <= 80
    assert "Nothing better. The best is weighted_sum of least_squares" in text
    assert "--keep asks for +50.00% or more" in text.replace("\n", " ")
    assert "No file is written." in text
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--data", "mine"), "--log and --data: give one of them"),
        (("--judge", "day > 3"), "--judge is read with --data"),
        (("--method", "guess"), "--method guess: expected "),
        (("--keep", "cmr > -1"), "--keep 'cmr > -1': expected NAME >= X%, such as 'cmr >= -1%'"),
        ((*SHORT, "--keep", "like >= -1%"), "there is no label 'like'"),
        (("--scene", "night"), "--scene night: no request of the log was ranked by it"),
        ((*SHORT, "--reward", "vtr +"), "no Polars SQL expression"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(tune, words, error):
    status, text, err = tune(*words)
    assert status == 1
    assert text == ""
    (line,) = (line for line in err.splitlines() if line.startswith("error: "))
    assert error in line


def test_a_rate_to_keep_is_an_expression_and_a_percentage():
    from training.commands.tune import kept_rates

    assert kept_rates(["cmr >= -1%", "vcr * video_len_s >= 0.5 %"]) == {
        "cmr": -0.01,
        "vcr * video_len_s": 0.005,
    }
