import pytest
from pydantic import ValidationError

from training.simulation import WorldConfig


def test_a_world_too_small_to_fill_a_request_is_refused_with_the_numbers() -> None:
    with pytest.raises(
        ValidationError, match="pool is 12 and items is 2000; with 10 slots both must be at least 20"
    ):
        WorldConfig(pool=12)


def test_an_unknown_dial_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="viewers"):
        WorldConfig.model_validate({"viewers": 10})


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        WorldConfig().seed = 8  # type: ignore[misc]
