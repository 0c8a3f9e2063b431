"""What holds for every response field there is: filled for the scored, null for the others, documented."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from service.contract.answers import RankedItem
from service.contract.errors import InvalidRequestError
from service.contract.fields import COLUMNS, Best, ItemFields
from service.contract.query import Query, quick_query, read_query
from service.ranking.items import scored_items, unscored_items

every_field = pytest.mark.parametrize("name", COLUMNS)

BEST = Best(
    scores=[0.5, 0.25],
    default=[False, True],
    predictions={"vtr": np.array([0.5, 0.75], np.float32), "vcr": np.array([0.25, 1.0], np.float32)},
    video_len_s=np.array([30.0, np.nan]),
)


def query(*fields: str) -> Query:
    body = {"user_id": "u", "candidate_ids": ["a", "b", "c"], "fields": fields}
    taken = quick_query(orjson.dumps(body), 3)
    assert taken is not None
    return taken


def items(*fields: str) -> list[dict[str, Any]]:
    """Two scored, the better one last in the request, and one unscored."""
    asking = query(*fields)
    return scored_items(asking, np.array([2, 0]), BEST) + unscored_items(asking, np.array([0, 2]), 2)


def test_predictions_are_by_task():
    assert [item["predictions"] for item in items("predictions")] == [
        {"vtr": 0.5, "vcr": 0.25},
        {"vtr": 0.75, "vcr": 1.0},
        None,
    ]


@every_field
def test_items_have_it_where_it_is_asked_for_as_the_contract_describes_it(name):
    best, other, unscored = items(name)
    for item in (best, other, unscored):
        assert list(item) == ["id", "rank", "score", "status", name]
        assert RankedItem.model_validate(item).model_dump()[name] == item[name]
    assert unscored[name] is None
    assert [item["id"] for item in (best, other, unscored)] == ["c", "a", "b"]
    orjson.dumps([best, other])


@every_field
def test_nobody_gets_it_unasked_but_the_contract_has_it_and_says_what_it_is(name):
    assert all(name not in item for item in items(*(set(COLUMNS) - {name})))
    assert ItemFields.model_fields[name].default is None
    assert ItemFields.model_fields[name].description


def test_all_fields_come_once_in_their_own_order_however_they_are_asked_for():
    assert query(*reversed(COLUMNS), *COLUMNS).fields == tuple(COLUMNS)
    assert query().fields == ()


def test_an_unknown_field_is_refused_by_the_names_there_are():
    body = {"user_id": "u", "candidate_ids": ["a"], "fields": ["colour"]}
    with pytest.raises(InvalidRequestError) as refusal:
        read_query(orjson.dumps(body), 1)
    (problem,) = refusal.value.problems
    assert problem.field == "fields[0]"
    assert all(name in problem.message for name in COLUMNS)


@every_field
def test_the_documentation_of_the_service_names_it(name):
    text = (Path(__file__).parents[3] / "docs" / "service.md").read_text()
    (row,) = (line for line in text.splitlines() if line.startswith("| `fields` |"))
    assert f'"{name}"' in row
