import sys

import numpy as np
import pytest

from model.errors import FulcrumError
from model.fusion import FusionConfig, load_fusion, version
from model.learned_fusion import prove
from tests.support.tuning_problems import additive_problem, gain_share
from training.tuning.config_file import write_config
from training.tuning.methods.trees import lambdarank, trees
from training.tuning.objective import ranked

pytest.importorskip("lightgbm")
pytest.importorskip("onnxmltools")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def problem():
    return additive_problem(6000)


@pytest.fixture(scope="module")
def found(problem):
    return trees(problem)


def test_trees_gain_most_of_what_there_is(problem, found):
    assert found.formula == "model"
    assert gain_share(problem, found.value) > 0.7


def test_no_raised_prediction_lowers_a_score(found):
    (network,) = found.scorers.values()

    prove(network, found.scene.inputs, 1)  # as the service does

    random = np.random.default_rng(2)
    before = np.stack([*random.uniform(size=(2, 20_000)), random.uniform(1, 100, 20_000)], axis=1)
    after = before.copy()
    after[:, :2] += random.uniform(size=(20_000, 2)) * (1.0 - after[:, :2])
    assert (network(after.astype(np.float32)) >= network(before.astype(np.float32))).all()


def test_a_config_with_the_network_beside_it_ranks_as_it_was_found(problem, found, tmp_path):
    config = FusionConfig(schema_version=1, scenes={"default": problem.incumbent})
    (tmp_path / found.scene.file).write_bytes(found.network)

    tuned = found.into(config, "default")
    write_config(tuned, tmp_path / "fusion.yaml", "tuned", tmp_path / "fusion.yaml")

    read = load_fusion(tmp_path / "fusion.yaml")
    assert version(read) == version(tuned)
    assert read.scenes[found.scene.fallback] == problem.incumbent
    value = ranked(read, problem.outcomes.requests, found.scorers)
    assert problem.objective.per_request(value).mean() == pytest.approx(found.value)


def test_grades_of_the_reward_find_less(problem, found):
    assert lambdarank(problem).value < found.value


def test_a_package_that_is_missing_is_named_with_the_way_to_install_it(problem, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)

    with pytest.raises(FulcrumError, match=r"lightgbm is not installed; pip install 'fulcrum\[tuning\]'"):
        trees(problem)
