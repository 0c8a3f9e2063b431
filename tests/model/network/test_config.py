import subprocess
import sys

import pytest
from pydantic import ValidationError

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
    with pytest.raises(ValidationError, match="levels"):
        network_config({"model": "cgc", "levels": 2})


@pytest.mark.parametrize("name", ["plle", None, 3, ["ple"]])
def test_an_unknown_network_is_refused_by_name(name: object) -> None:
    with pytest.raises(ValueError, match=r"model: unknown network .*; there are .*cgc, .*ple"):
        network_config({"model": name})


@pytest.mark.parametrize(
    ("setting", "place"),
    [
        ({"levels": 0}, ("levels",)),
        ({"levels": True}, ("levels",)),
        ({"layers": 2}, ("layers",)),
        ({"dropout": 1.0}, ("dropout",)),
        ({"embedding_dropout": float("nan")}, ("embedding_dropout",)),
        ({"experts": {"shared": 0}}, ("experts", "shared")),
        ({"experts": {"task": 0}}, ("experts", "task", "every task")),
        ({"experts": {"task": {"vtr": 0}}}, ("experts", "task", "per task", "vtr")),
        ({"expert": []}, ("expert", "every expert")),
        ({"expert": [8, 0]}, ("expert", "every expert", 1)),
        ({"expert": {"shared": [8]}}, ("expert", "by stream", "task")),
        ({"tower": [0]}, ("tower", 0)),
    ],
)
def test_a_bad_setting_is_refused_once_and_where_it_stands(
    setting: object, place: tuple[object, ...]
) -> None:
    with pytest.raises(ValidationError) as refused:
        network_config(setting)
    assert [error["loc"] for error in refused.value.errors()] == [place]


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
