import subprocess
import sys

import pytest
from pydantic import ValidationError

from model.errors import FulcrumError
from model.network.config import ExpertGroup
from model.network.trunks import network_config
from model.network.trunks.cgc import CGCConfig
from model.network.trunks.ple import PLEConfig

TASKS = ("vtr", "vcr")


def test_an_empty_config_is_a_two_level_ple() -> None:
    config = network_config({})
    assert config == PLEConfig(model="ple", levels=2, expert=(256, 128), tower=(64,))
    assert config.shared_experts == ExpertGroup(2, (256, 128))
    assert config.task_experts(TASKS) == (ExpertGroup(2, (256, 128)),) * 2


def test_one_value_stands_for_every_task() -> None:
    config = network_config({"experts": {"shared": 3, "task": 1}, "expert": [8]})
    assert config.shared_experts == ExpertGroup(3, (8,))
    assert config.task_experts(TASKS) == (ExpertGroup(1, (8,)),) * 2


def test_counts_and_widths_may_differ_by_task() -> None:
    config = network_config(
        {
            "experts": {"task": {"vcr": 3, "vtr": 1}},
            "expert": {"shared": [8, 4], "task": {"vtr": [4], "vcr": [16, 8, 4]}},
        }
    )
    assert config.fusion_width == 4
    assert config.shared_experts == ExpertGroup(2, (8, 4))
    assert config.task_experts(TASKS) == (ExpertGroup(1, (4,)), ExpertGroup(3, (16, 8, 4)))


def test_a_config_survives_json() -> None:
    config = PLEConfig.model_validate(
        {"experts": {"task": {"vtr": 1}}, "expert": {"shared": [4], "task": [4]}}
    )
    assert network_config(config.model_dump(mode="json")) == config


@pytest.mark.parametrize("task", [[8, 5], {"vtr": [8, 4], "vcr": [8, 5]}])
def test_experts_that_end_in_different_widths_are_refused_with_the_reason(task: object) -> None:
    with pytest.raises(ValidationError, match=r"a gate adds experts.*shared in 4.*task(\.vcr)? in 5"):
        PLEConfig.model_validate({"expert": {"shared": [8, 4], "task": task}})


def test_a_network_is_chosen_by_its_model() -> None:
    assert network_config({"model": "cgc", "expert": [8]}) == CGCConfig(expert=(8,))
    with pytest.raises(FulcrumError, match="levels: unknown key"):
        network_config({"model": "cgc", "levels": 2})


@pytest.mark.parametrize("name", ["plle", None, 3, ["ple"]])
def test_an_unknown_network_is_refused_by_name(name: object) -> None:
    with pytest.raises(ValueError, match=r"model: unknown network .*; there are .*cgc, .*ple"):
        network_config({"model": name})


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"levels": 0}, "levels: expected a number of at least 1, found 0"),
        ({"levels": True}, "levels: expected a whole number, found true"),
        ({"levles": 2}, "levles: unknown key; known keys are model, tower, .*levels; did you mean levels?"),
        ({"dropout": 1.0}, "dropout: expected a number below 1, found 1.0"),
        ({"embedding_dropout": float("nan")}, "embedding_dropout: expected a finite number, found nan"),
        ({"experts": {"shared": 0}}, "experts.shared: expected"),
        (
            {"experts": {"shred": 1}},
            "experts.shred: unknown key; known keys are shared, task; did you mean shared",
        ),
        ({"experts": {"task": 0}}, "experts.task: expected"),
        ({"experts": {"task": {"vtr": 0}}}, "experts.task.vtr: expected"),
        ({"expert": []}, "expert: expected 1 or more values, found a list of 0"),
        ({"expert": [8, 0]}, r"expert\[1\]: expected"),
        ({"expert": {"shared": [8]}}, "expert.task: required, but absent"),
        ({"expert": {"shared": [8], "tasks": [8]}}, "expert.tasks: unknown key; known keys are shared, task"),
        ({"tower": [0]}, r"tower\[0\]: expected"),
    ],
)
def test_a_bad_setting_is_refused_where_it_stands_in_the_recipe(setting: object, says: str) -> None:
    with pytest.raises(FulcrumError, match=rf"^network\.{says}"):
        network_config(setting, at="network")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            {"experts": {"task": {"vtr": 1, "vcr": 1, "vrt": 1}}},
            "experts.task: unknown task 'vrt'; the tasks are vtr, vcr",
        ),
        ({"experts": {"task": {"vcr": 1}}}, "experts.task: nothing given for vtr"),
        (
            {"expert": {"shared": [4], "task": {"shr": [4]}}},
            "expert.task: unknown task 'shr'; the tasks are vtr, vcr",
        ),
    ],
)
def test_task_mappings_are_held_against_the_tasks_that_exist(setting: object, message: str) -> None:
    config = network_config(setting)
    with pytest.raises(ValueError, match=message):
        config.task_experts(TASKS)


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        PLEConfig().levels = 3  # type: ignore[misc]


@pytest.mark.slow
def test_the_config_needs_no_torch() -> None:
    code = "import sys, model.network.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
