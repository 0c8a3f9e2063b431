"""Target attention: a candidate's view of a history, empty ones included."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.network.layers.attention import TargetAttention

WIDTH, VALUES = 6, 5


def attention(heads: int = 2) -> TargetAttention:
    torch.manual_seed(1)
    layer = TargetAttention(WIDTH, VALUES, heads).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    return layer


def literal(
    layer: TargetAttention, query: torch.Tensor, history: torch.Tensor, present: torch.Tensor
) -> torch.Tensor:
    """One candidate, one history, head by head, by the definition."""

    def normal(vector: torch.Tensor) -> torch.Tensor:
        return vector / torch.sqrt((vector**2).mean() + 1e-6)

    parts, size = [], WIDTH // layer.heads
    for head in range(layer.heads):
        own = slice(head * size, (head + 1) * size)
        asked = normal((layer.query.weight @ query)[own])
        logits = [asked @ layer.nothing_key[head, 0]]
        values = [layer.nothing_value[head, 0]]
        for place in range(VALUES):
            if present[place]:
                key = normal((layer.key.weight @ history[place])[own])
                logits.append(asked @ key)
                values.append((layer.value.weight @ history[place])[own])
        scaled = torch.stack(logits) * layer.sharpness[head, 0, 0] / math.sqrt(size)
        scaled[1:] += layer.recency[head, 0, : len(logits) - 1]
        parts.append(torch.softmax(scaled, dim=0) @ torch.stack(values))
    return torch.cat(parts)


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_each_candidate_weighs_its_own_users_history(heads: int) -> None:
    layer = attention(heads)
    query, history = torch.randn(7, WIDTH).double(), torch.randn(3, VALUES, WIDTH).double()
    present = torch.arange(VALUES) < torch.tensor([[5], [2], [0]])
    rows = torch.tensor([0, 1, 2, 2, 1, 0, 0])
    found = layer(query, history, present, rows)
    torch.testing.assert_close(layer.eval()(query, history, present, rows), found, rtol=1e-9, atol=1e-9)
    for place, row in enumerate(rows.tolist()):
        expected = literal(layer, query[place], history[row], present[row])
        torch.testing.assert_close(found[place], expected, rtol=1e-9, atol=1e-9)


@given(st.integers(0, VALUES), st.integers(0, 100))
def test_what_stands_in_the_padding_does_not_matter(length: int, seed: int) -> None:
    layer = attention()
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(2, WIDTH, generator=generator).double()
    history = torch.randn(1, VALUES, WIDTH, generator=generator).double()
    present = (torch.arange(VALUES) < length)[None]
    rows = torch.zeros(2, dtype=torch.int64)
    other = torch.where(present[..., None], history, history + 7.0)
    assert torch.equal(layer(query, history, present, rows), layer(query, other, present, rows))


def test_an_empty_history_says_the_same_to_every_candidate() -> None:
    layer = attention()
    found = layer(
        torch.randn(4, WIDTH).double(),
        torch.zeros(1, VALUES, WIDTH).double(),
        torch.zeros(1, VALUES, dtype=torch.bool),
        torch.zeros(4, dtype=torch.int64),
    )
    torch.testing.assert_close(found, layer.nothing_value.flatten().expand(4, -1))
    assert torch.isfinite(found).all()


def test_at_first_like_attends_to_like_however_small_the_embeddings_are() -> None:
    torch.manual_seed(3)
    history = torch.randn(1, VALUES, WIDTH) * 0.01
    layer = TargetAttention(WIDTH, VALUES)
    found = layer(
        history[0], history, torch.ones(1, VALUES, dtype=torch.bool), torch.zeros(VALUES, dtype=torch.int64)
    )
    closest = torch.cdist(found, history[0]).argmin(dim=1)
    assert closest.tolist() == list(range(VALUES))


def test_heads_that_do_not_part_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="4 heads do not part a width of 6"):
        TargetAttention(6, 5, 4)
