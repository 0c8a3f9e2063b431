import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.network.embedding import (
    INITIAL_ENTITY_STD,
    INITIAL_STD,
    EmbeddingSpec,
    EmbeddingTables,
    FeatureEmbedding,
    FieldSpec,
    SideSpec,
    pool,
)

FIRST, SECOND = EmbeddingSpec("first", 5, 2), EmbeddingSpec("second", 9, 4)


def joined(
    spec: SideSpec, tables: EmbeddingTables, ids: torch.Tensor, numeric: torch.Tensor | None = None
) -> torch.Tensor:
    layer = FeatureEmbedding(spec)
    numbers = torch.zeros(len(ids), 0) if numeric is None else numeric
    vector: torch.Tensor = layer(layer.look_up(tables, ids), numbers)
    assert vector.shape == (len(ids), layer.width)
    return vector


def test_a_row_is_its_embeddings_in_order_and_then_its_numbers() -> None:
    spec = SideSpec((FieldSpec("a", FIRST), FieldSpec("b", SECOND)), 2)
    tables = EmbeddingTables([FIRST, SECOND])
    numeric = torch.tensor([[0.5, -1.0], [7.0, 8.0]])
    first, second = tables.weight("first"), tables.weight("second")
    expected = torch.stack(
        [
            torch.cat([first[4], second[0], numeric[0]]),
            torch.cat([first[1], second[2], numeric[1]]),
        ]
    )
    assert torch.equal(joined(spec, tables, torch.tensor([[4, 0], [1, 2]]), numeric), expected)


@pytest.mark.parametrize(("tables", "numeric"), [((), 3), ((FIRST, SECOND), 0), ((), 0)])
def test_either_kind_of_feature_may_be_absent(tables: tuple[EmbeddingSpec, ...], numeric: int) -> None:
    spec = SideSpec(tuple(FieldSpec(table.name, table) for table in tables), numeric)
    ids = torch.zeros(6, len(tables), dtype=torch.int64)
    out = joined(spec, EmbeddingTables(tables), ids, torch.ones(6, numeric))
    assert out.shape == (6, sum(table.width for table in tables) + numeric)
    assert out.dtype == torch.float32


def test_tables_start_small_and_normal_and_those_of_entities_smaller() -> None:
    torch.manual_seed(0)
    tables = EmbeddingTables(
        [EmbeddingSpec("tag", 20_000, 8), EmbeddingSpec("video", 20_000, 8, entity=True)]
    )
    for name, std in (("tag", INITIAL_STD), ("video", INITIAL_ENTITY_STD)):
        assert tables.weight(name).mean().item() == pytest.approx(0.0, abs=0.001)
        assert tables.weight(name).std().item() == pytest.approx(std, rel=0.01)
    assert [weight is tables.weight("video") for weight in tables.entity_weights()] == [True]


def test_a_missing_and_an_unknown_value_start_by_saying_nothing() -> None:
    assert (EmbeddingTables([FIRST])("first", torch.tensor([0, 1])) == 0).all()


def test_dropout_spares_the_numbers_and_rests_in_evaluation() -> None:
    torch.manual_seed(0)
    wide = EmbeddingSpec("wide", 3, 50)
    layer = FeatureEmbedding(SideSpec((FieldSpec("wide", wide),), 50), dropout=0.9)
    found = layer.look_up(EmbeddingTables([wide]), torch.full((20, 1), 2))
    numeric = torch.ones(20, 50)
    dropped = layer(found, numeric)
    assert (dropped[:, :50] == 0).float().mean() > 0.8
    assert torch.equal(dropped[:, 50:], numeric)
    assert (layer.eval()(found, numeric) != 0).all()


def test_fields_of_one_table_look_up_the_same_rows() -> None:
    spec = SideSpec((FieldSpec("a", FIRST), FieldSpec("b", FIRST)))
    tables = EmbeddingTables([FIRST, FIRST])
    out = joined(spec, tables, torch.tensor([[3, 3], [2, 4]]))
    assert len(tables.tables) == 1
    assert torch.equal(out[0, :2], out[0, 2:])
    assert torch.equal(out[1], tables.weight("first")[[2, 4]].flatten())


@given(st.lists(st.integers(2, 8), min_size=1, max_size=6), st.sampled_from(["mean", "sum", "max"]))
def test_padding_a_list_changes_nothing(values: list[int], how: str) -> None:
    tables = EmbeddingTables([SECOND])

    def pooled(columns: int) -> torch.Tensor:
        ids = torch.tensor([values + [0] * (columns - len(values))])
        return joined(SideSpec((FieldSpec("f", SECOND, columns, how),)), tables, ids)  # type: ignore[arg-type]

    torch.testing.assert_close(pooled(len(values)), pooled(9), rtol=0, atol=1e-7)


@given(st.lists(st.integers(1, 8), min_size=1, max_size=6), st.randoms())
def test_the_order_of_a_list_changes_nothing_when_it_is_pooled(values: list[int], random: object) -> None:
    shuffled = values[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    tables = EmbeddingTables([SECOND])
    embedded = tables("second", torch.tensor([values, shuffled]))
    present = torch.ones(2, len(values), dtype=torch.bool)
    for how in ("mean", "sum", "max"):
        first, second = pool(how, embedded, present)  # type: ignore[arg-type]
        torch.testing.assert_close(first, second, rtol=0, atol=1e-6)


def test_lists_are_pooled_over_what_they_hold_and_an_empty_one_is_missing() -> None:
    tables = EmbeddingTables([SECOND])
    torch.nn.init.normal_(tables.weight("second"))
    ids, rows = torch.tensor([[3, 4, 0], [5, 0, 0], [0, 0, 0], [1, 3, 3]]), tables.weight("second")
    lists = ([3, 4], [5], [0], [1, 3, 3])
    expected = {
        "mean": torch.stack([rows[one].mean(dim=0) for one in lists]),
        "sum": torch.stack([rows[one].sum(dim=0) for one in lists]),
        "max": torch.stack([rows[one].amax(dim=0) for one in lists]),
    }
    for how, wanted in expected.items():
        field = FieldSpec("f", SECOND, 3, how)  # type: ignore[arg-type]
        torch.testing.assert_close(joined(SideSpec((field,)), tables, ids), wanted, rtol=0, atol=1e-6)


def test_entities_are_unknown_at_times_within_a_list_too_and_gaps_stay_gaps() -> None:
    torch.manual_seed(0)
    tables = EmbeddingTables([EmbeddingSpec("video", 9, 1, entity=True)], id_dropout=0.5)
    with torch.no_grad():
        tables.weight("video").copy_(torch.arange(9.0)[:, None])
    ids = torch.tensor([[5, 6, 0, 1]]).expand(1000, 4)
    found = tables("video", ids).squeeze(2)
    assert set(found[:, 0].tolist()) == {1.0, 5.0}
    assert 400 < (found[:, 1] == 1).sum() < 600
    assert (found[:, 2] == 0).all()
    assert torch.equal(tables.eval()("video", ids).squeeze(2), ids.float())


def test_sizes_and_tables_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="table 'a': rows and width must be at least 1"):
        EmbeddingTables([EmbeddingSpec("a", 0, 4)])
    with pytest.raises(ValueError, match="two tables are named 'a'"):
        EmbeddingTables([EmbeddingSpec("a", 3, 4), EmbeddingSpec("a", 4, 4)])
    with pytest.raises(ValueError, match="numeric must be at least 0; got -1"):
        FeatureEmbedding(SideSpec((), -1))
