"""`fulcrum estimate`: what it prints, and what it refuses in one line."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from model.fusion import canonical_json
from tests.support.world_logs import WorldRequests, by_truth
from tests.support.written_logs import write_joined
from tests.training.tuning.test_estimating import OTHER, SUM
from tests.training.tuning.test_exposure import CONFIG, exploring
from training.simulation import World, WorldConfig
from training.tuning.estimating import difference


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A joined log of 1,500 requests that explored."""
    folder = tmp_path_factory.mktemp("joined")
    visits = WorldRequests.of(World.create(WorldConfig(users=400, items=200, days=1)), 1_500, by_truth(0.5))
    write_joined(visits.log(exploring(CONFIG), np.random.default_rng(0)), folder, "sha256:bundle")
    return folder


@pytest.fixture
def estimate(out, demo_bundle, called, monkeypatch, tmp_path):
    """Run the command on that log with configs: exit status, stdout, stderr."""
    monkeypatch.setitem(difference.__kwdefaults__, "draws", 12)
    monkeypatch.chdir(tmp_path)
    configs = {"other": OTHER, "sum": CONFIG.model_copy(update={"scenes": {"default": SUM}})}
    for name, config in configs.items():
        (tmp_path / f"{name}.yaml").write_bytes(canonical_json(config))

    return lambda *words: called("estimate", *words, "--log", out, "--bundle", "bundle")


def test_an_estimate_is_a_fraction_with_its_interval(estimate):
    status, text, _ = estimate("other.yaml", "--json")
    found = orjson.loads(text)
    assert status == 0
    assert not found["refused"]
    low, high = found["interval"]
    assert low < found["difference"] < high
    assert found["examination"]["how"] == "modelled"
    assert found["experiment"]["requests_per_arm"] > 10_000
    back = orjson.loads(estimate("current", "--against", "other.yaml", "--json")[1])
    assert (1 + back["difference"]) * (1 + found["difference"]) == pytest.approx(1.0)


def test_another_formula_is_refused_and_that_is_an_answer(estimate):
    status, text, _ = estimate("sum.yaml", "--json")
    found = orjson.loads(text)
    assert status == 0
    assert found["refused"]
    assert (found["difference"], found["interval"]) == (None, None)
    assert "weighted_sum never ranked here" in found["reason"]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("other.yaml", "Reward of a request: "),
        ("sum.yaml", "The log cannot say: scene default: weighted_sum"),
    ],
)
def test_it_is_printed_in_80_columns(estimate, config, says):
    _, text, _ = estimate(config)
    assert says in text
    for words in ("doubly robust", "reward model alone", "requests in each arm"):
        assert words in text
    assert max(map(len, text.splitlines())) <= 80


def test_what_is_wrong_is_said_in_one_line(estimate, tmp_path):
    (tmp_path / "odd.yaml").write_text("schema_version: 1\nscenes: {default: {tasks: {shar: {weight: 1}}}}")
    for words, says in (
        (("odd.yaml",), "unknown task 'shar'"),
        (("other.yaml", "--reward", "is_gone"), "there is no label 'is_gone'"),
        (("other.yaml", "--scene", "nowhere"), "--scene nowhere: no request of the log was ranked by it"),
        (("other.yaml", "--examination", "2"), "expected a share above 0"),
    ):
        status, text, errors = estimate(*words)
        assert (status, text) == (1, "")
        assert says in errors
