"""Asymmetric sharing against a literal reading, one row at a time."""

import numpy as np
import pytest

from model.network.trunks import build_trunk
from model.network.trunks.asymmetric_sharing import AsymmetricSharing, AsymmetricSharingConfig
from tests.model.network.trunks import literal
from tests.model.network.trunks.literal import Vector, heads

NAMES = ("a", "b", "c")


def literal_asymmetric_sharing(
    trunk: AsymmetricSharing, reads: dict[str, list[str]], fusion: str, x: Vector
) -> list[float]:
    bottom = {name: literal.mlp(bottom, x) for name, bottom in zip(NAMES, trunk.bottoms, strict=True)}
    outputs = []
    for name, tower in zip(NAMES, trunk.towers, strict=True):
        read = [bottom[name], *(bottom[other] for other in reads.get(name, []))]
        if fusion == "concat":
            fused = np.concatenate(read)
        else:
            fused = sum(read) / (len(read) if fusion == "mean" else 1)
        outputs.append(literal.tower(tower, fused))
    return outputs


@pytest.mark.parametrize("fusion", ["concat", "sum", "mean"])
@pytest.mark.parametrize("reads", [None, {"a": ["c"], "b": ["c", "a"]}, {}])
@pytest.mark.parametrize("seed", range(3))
def test_it_equals_the_paper_read_literally(
    seed: int, reads: dict[str, list[str]] | None, fusion: str
) -> None:
    trunk, x = literal.random_trunk(AsymmetricSharing, seed, names=NAMES, reads=reads, fusion=fusion)
    read = {"b": ["a"], "c": ["a", "b"]} if reads is None else reads
    expected = [literal_asymmetric_sharing(trunk, read, fusion, row) for row in x.numpy()]
    np.testing.assert_allclose(literal.outputs(trunk, x), expected, rtol=1e-9, atol=1e-9)


def test_a_task_reaches_its_own_bottom_and_those_it_reads_alone() -> None:
    trunk, x = literal.two_layers(AsymmetricSharing, *NAMES, reads={"b": ["c"]})
    bottoms = [
        {name.split(".")[1] for name in literal.reached(trunk, task, x) if name.startswith("bottoms.")}
        for task in range(3)
    ]
    assert bottoms == [{"0"}, {"1", "2"}, {"2"}]


@pytest.mark.parametrize(
    ("reads", "message"),
    [
        ({"b": ["d"]}, "reads: unknown task 'd'; the tasks are a, b, c"),
        ({"d": ["a"]}, "reads: unknown task 'd'; the tasks are a, b, c"),
        ({"b": ["a", "b"]}, "reads.b: expected other tasks, each once, found a, b"),
        ({"b": ["a", "a"]}, "reads.b: expected other tasks, each once, found a, a"),
    ],
)
def test_reads_are_held_against_the_tasks_that_exist(reads: dict[str, list[str]], message: str) -> None:
    config = AsymmetricSharingConfig.model_validate({"reads": reads})
    with pytest.raises(ValueError, match=message):
        config.check_tasks(NAMES)
    with pytest.raises(ValueError, match=message):
        build_trunk(config, fields=(3,), tasks=heads(*NAMES))
