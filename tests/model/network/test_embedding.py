import pytest
import torch

from model.network.embedding import INITIAL_STD, FeatureEmbedding


def test_a_row_is_its_embeddings_in_order_and_then_its_numbers() -> None:
    layer = FeatureEmbedding([5, 3], [2, 4], 2)
    ids = torch.tensor([[4, 0], [1, 2]])
    numeric = torch.tensor([[0.5, -1.0], [7.0, 8.0]])
    first, second = (table.weight for table in layer.tables)
    expected = torch.stack(
        [
            torch.cat([first[4], second[0], numeric[0]]),
            torch.cat([first[1], second[2], numeric[1]]),
        ]
    )
    assert layer.width == 8
    assert torch.equal(layer(ids, numeric), expected)


@pytest.mark.parametrize(
    ("cardinalities", "widths", "numeric"), [([], [], 3), ([4, 4], [2, 1], 0), ([], [], 0)]
)
def test_either_kind_of_feature_may_be_absent(
    cardinalities: list[int], widths: list[int], numeric: int
) -> None:
    layer = FeatureEmbedding(cardinalities, widths, numeric)
    ids = torch.zeros(6, len(widths), dtype=torch.int64)
    out = layer(ids, torch.ones(6, numeric))
    assert out.shape == (6, layer.width) == (6, sum(widths) + numeric)
    assert out.dtype == torch.float32


def test_tables_start_small_and_normal() -> None:
    torch.manual_seed(0)
    (table,) = FeatureEmbedding([20_000], [8], 0).tables
    assert table.weight.mean().item() == pytest.approx(0.0, abs=0.001)
    assert table.weight.std().item() == pytest.approx(INITIAL_STD, rel=0.01)


def test_a_missing_and_an_unknown_value_start_by_saying_nothing() -> None:
    layer = FeatureEmbedding([5], [8], 0)
    assert (layer(torch.tensor([[0], [1]]), torch.zeros(2, 0)) == 0).all()


def test_dropout_spares_the_numbers_and_rests_in_evaluation() -> None:
    torch.manual_seed(0)
    layer = FeatureEmbedding([3], [50], 50, dropout=0.9)
    ids, numeric = torch.full((20, 1), 2), torch.ones(20, 50)
    dropped = layer(ids, numeric)
    assert (dropped[:, :50] == 0).float().mean() > 0.8
    assert torch.equal(dropped[:, 50:], numeric)
    assert (layer.eval()(ids, numeric) != 0).all()


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="2 cardinalities and 1 widths"):
        FeatureEmbedding([3, 3], [4], 0)
    with pytest.raises(ValueError, match=r"cardinalities \[0\], widths \[4\], numeric 0"):
        FeatureEmbedding([0], [4], 0)
