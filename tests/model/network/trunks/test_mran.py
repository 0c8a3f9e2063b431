"""MRAN against a second one that reads its equations literally, one row, one head and one pair at a time."""

import math
import random

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from model.network.trunks.mran import MRAN, Attention, MRANConfig
from tests.model.network.trunks import laws, literal
from tests.model.network.trunks.literal import Vector, heads

SMALL = MRANConfig(width=8, heads=2, expert=(16, 8), tower=(8,))


def normal(vector: Vector) -> Vector:
    return vector / math.sqrt(float(np.mean(vector**2)) + 1e-6)


def literal_attention(
    attention: Attention, query: Vector, values: list[Vector], masses: list[float]
) -> Vector:
    """What one query reads."""
    of_query, of_key, of_value, out = (
        literal.matrix(part.weight)
        for part in (attention.query, attention.key, attention.value, attention.out)
    )
    size = len(query) // attention.heads
    read = []
    for head in range(attention.heads):
        own = slice(head * size, (head + 1) * size)
        sharpness = attention.sharpness[head].item() / math.sqrt(size)
        asked = normal((of_query @ query)[own])
        likeness = [sharpness * (asked @ normal((of_key @ value)[own])) for value in values]
        highest = max(likeness)
        weights = [mass * math.exp(one - highest) for mass, one in zip(masses, likeness, strict=True)]
        read.append(
            sum(
                weight / sum(weights) * (of_value @ value)[own]
                for weight, value in zip(weights, values, strict=True)
            )
        )
    return out @ np.concatenate(read)


def literal_mran(mran: MRAN, x: Vector) -> list[float]:
    """All tasks' outputs for one row x [D]."""
    z = [literal.matrix(mran.projection)[:, own] @ x[own] for own in mran.columns]
    lengths = [math.sqrt(float(np.sum(one**2))) for one in z]
    features = [normal(one + literal_attention(mran.feature_feature, one, z, lengths)) for one in z]
    embedded = list(literal.matrix(mran.tasks))
    even = [1.0] * len(embedded)
    tasks = [normal(one + literal_attention(mran.task_task, one, embedded, even)) for one in embedded]
    outputs = []
    for task, layers, tower in zip(tasks, mran.layers, mran.towers, strict=True):
        seen = literal_attention(mran.task_feature, task, features, lengths)
        outputs.append(literal.tower(tower, literal.mlp(layers, normal(sum(z) + seen))))
    return outputs


def random_mran(seed: int) -> tuple[MRAN, int]:
    draw = random.Random(seed)
    torch.manual_seed(seed)
    parts = draw.randint(1, 3)
    config = MRANConfig(
        width=parts * draw.randint(1, 4),
        heads=parts,
        expert=tuple(draw.randint(1, 7) for _ in range(draw.randint(1, 3))),
        tower=tuple(draw.randint(1, 5) for _ in range(draw.randint(0, 2))),
    )
    fields = tuple(draw.randint(1, 4) for _ in range(draw.randint(1, 5)))
    names = [f"task{task}" for task in range(draw.randint(1, 4))]
    mran = MRAN(config, fields=fields, tasks=heads(*names))
    laws.randomised(mran)
    return mran, sum(fields)


@pytest.mark.parametrize("seed", range(12))
def test_it_equals_its_equations_read_literally(seed: int) -> None:
    mran, inputs = random_mran(seed)
    laws.equals_literally(mran, lambda row: literal_mran(mran, row), inputs)


@pytest.mark.parametrize("seed", range(4))
def test_it_learns_in_training_what_it_learns_in_evaluation(seed: int) -> None:
    laws.learns_in_training_what_it_learns_in_evaluation(*random_mran(seed))


def test_a_feature_with_weights_of_zero_moves_nothing_and_learns() -> None:
    torch.manual_seed(0)
    before = MRAN(SMALL, fields=(4, 3), tasks=heads("a", "b")).double()
    after = MRAN(SMALL, fields=(4, 2, 3), tasks=heads("a", "b")).double()
    state = dict(before.state_dict())
    first, last = state["projection"].split((4, 3), dim=1)
    state["projection"] = torch.cat([first, torch.zeros(8, 2), last], dim=1)
    after.load_state_dict(state)
    x = torch.randn(9, 9, dtype=torch.float64)
    outputs = torch.cat(after(x), dim=1)
    without = torch.cat(before(x[:, [0, 1, 2, 3, 6, 7, 8]]), dim=1)
    torch.testing.assert_close(outputs, without, rtol=0, atol=1e-12)
    outputs.sum().backward()
    assert after.projection.grad is not None
    assert after.projection.grad.isfinite().all()
    assert after.projection.grad[:, 4:6].any()


def test_parameters_meet_the_input_in_one_place_and_know_no_number_of_features() -> None:
    def shapes(*fields: int) -> dict[str, torch.Size]:
        return {
            name: one.shape for name, one in MRAN(SMALL, fields=fields, tasks=heads("a")).named_parameters()
        }

    one, three = shapes(10), shapes(2, 3, 5)
    assert one == three
    assert [name for name, shape in shapes(11).items() if shape != one[name]] == ["projection"]


def test_each_feature_has_its_own_columns() -> None:
    mran = MRAN(SMALL, fields=(2, 3, 1), tasks=heads("a"))
    assert mran.columns == [slice(0, 2), slice(2, 5), slice(5, 6)]


def test_heads_that_do_not_part_the_width_are_refused() -> None:
    with pytest.raises(ValidationError, match="heads: 3 do not part a width of 64 evenly"):
        MRANConfig(heads=3)


def test_layers_are_told_by_task() -> None:
    mran = MRAN(SMALL, fields=(4, 3), tasks=heads("a", "b"))
    assert [(one.level, one.name) for one in mran.experts()] == [(1, "a 1"), (1, "b 1")]
    assert [one.expert for one in mran.experts()] == list(mran.layers)
    assert mran.gates() == []
