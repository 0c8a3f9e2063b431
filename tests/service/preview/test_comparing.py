"""Pictures of recent requests, against the same said slowly, one request at a time."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import orjson
import pytest
import yaml

from model.fusion import FusionConfig, FusionError, LearnedFormula, fusion_of, score, top_k
from model.fusion.comparison import compare_orders
from model.learned_fusion import LearnedNetwork
from service.preview.comparing import EDGES_S, Ranked, picture
from service.preview.sample import Record, Sample, read_sample
from service.preview.selection import Selection, applied, chosen
from tests.support.replaying import CONFIG, NETWORK, SCENES

TASKS = ("vtr", "vcr", "shr", "cmr")
DOCUMENT = yaml.safe_load(CONFIG)
BEFORE = fusion_of(DOCUMENT)
_SCENES = DOCUMENT["scenes"]
_TASKS = {**_SCENES["default"]["tasks"], "shr": {"weight": -3.0}}
AFTER = fusion_of(
    {
        "schema_version": 1,
        "scenes": {
            **_SCENES,
            "default": {**_SCENES["default"], "tasks": _TASKS},
            "feed": _SCENES["ranks"],
            "ranks": _SCENES["worth"],
        },
    }
)


@pytest.fixture(scope="module")
def sample() -> Sample:
    """60 requests of 1 to 90 candidates; lengths that are not known, and predictions that are equal."""
    random = np.random.default_rng(4)
    records = []
    for number in range(60):
        count = int(random.integers(1, 90))
        lengths = random.lognormal(3.0, 1.0, count)
        records.append(
            Record(
                number,
                "sha256:b",
                TASKS,
                SCENES[number % len(SCENES)],
                orjson.dumps({"hour": number % 24, "tab": [None, "1", True, "2"][number % 4]}),
                orjson.dumps([f"v{number}-{place}" for place in range(count)]),
                random.choice(random.uniform(size=40), (4, count)).astype(np.float32),
                np.where(random.uniform(size=count) < 0.1, np.nan, lengths),
                random.uniform(size=count) < 0.2,
            )
        )
    return read_sample(Sample.of("s", 5, records).to_bytes())


@pytest.fixture(scope="module")
def network() -> LearnedNetwork:
    return LearnedNetwork(NETWORK, 5)


def slowly(record: Record, config: FusionConfig, network: LearnedNetwork) -> np.ndarray:
    """What one request is ordered by."""
    scene, _ = config.scenes[applied(config, record.scene)].of_request(orjson.loads(record.said))
    p = dict(zip(TASKS, record.predictions, strict=True))
    scorer = network if isinstance(scene, LearnedFormula) else None
    return score(scene, p, record.video_len_s, scorer=scorer).order


@pytest.mark.parametrize("config", [BEFORE, AFTER])
def test_all_requests_at_once_are_scored_as_each_alone(sample, network, config):
    rows = tuple(range(60))
    found = Selection(sample, rows).values(config, lambda _: network)
    assert hashlib.sha256(network.content).hexdigest() == config.scenes["learned"].sha256
    alone = np.concatenate([slowly(record, config, network) for record in sample.records])
    np.testing.assert_array_equal(found, alone)


def test_a_picture_is_the_mean_of_what_each_request_shows(sample, network):
    for scene in ("default", "feed"):
        rows = chosen(sample, 300, scene, (BEFORE, AFTER))
        selection = Selection(sample, rows)
        one, other = (Ranked(selection, config, lambda _: network) for config in (BEFORE, AFTER))
        found = picture(one, other, 4)
        records = [sample.records[row] for row in rows]
        assert {record.scene for record in records} <= {scene, "nowhere"}
        values = [[slowly(each, config, network) for config in (BEFORE, AFTER)] for each in records]
        compared = [compare_orders(old[None], new[None], top=4) for old, new in values]
        assert found["requests"] == len(rows)
        assert found["candidates"] == sum(record.candidates for record in records)
        assert found["changed_first"] == np.mean([each.first_changed[0] for each in compared])
        assert found["changed_top"] == pytest.approx(np.mean([each.top_changed[0] for each in compared]))
        assert found["kendall_tau"] == pytest.approx(np.nanmean([each.tau_b[0] for each in compared]))
        for side, place in (("before", 0), ("after", 1)):
            first = [top_k(orders[place], 4) for orders in values]
            lengths = np.concatenate(
                [each.video_len_s[best] for each, best in zip(records, first, strict=True)]
            )
            shares = [row[side] for row in found["exposure"]["video_len"]]
            assert shares[-1] == np.isnan(lengths).mean()
            assert shares[:-1] == pytest.approx(np.histogram(lengths, [*EDGES_S, np.inf])[0] / len(lengths))
            default = np.concatenate([each.default[best] for each, best in zip(records, first, strict=True)])
            assert found["exposure"]["status"][1][side] == pytest.approx(default.mean())
            rates = np.concatenate(
                [each.predictions[2][best] for each, best in zip(records, first, strict=True)]
            )
            assert found["rates"]["shr"][side] == pytest.approx(rates.mean())
        check_movers(found["movers"], records, compared)


def check_movers(movers: list[dict[str, Any]], records: list[Record], compared: list[Any]) -> None:
    """Those of the first four of either order that move farthest."""
    moves = [
        (abs(int(each.after[0, at]) - int(each.before[0, at])), row, at)
        for row, each in enumerate(compared)
        for at in range(records[row].candidates)
        if min(each.before[0, at], each.after[0, at]) < 4 and each.before[0, at] != each.after[0, at]
    ]
    told = [abs(mover["after"] - mover["before"]) for mover in movers]
    assert told == sorted((far for far, _, _ in moves), reverse=True)[:20]
    for mover, far in zip(movers, told, strict=True):
        row, at = mover["request"], mover["candidate"]
        assert (far, row, at) in moves
        assert mover["id"] == orjson.loads(records[row].ids)[at]
        assert mover["before"] == compared[row].before[0, at] + 1


def test_where_a_network_fails_its_fallback_orders(sample):
    def broken(_: Any) -> Any:
        raise FusionError("broken")

    rows = chosen(sample, 300, "learned", (BEFORE,))
    found = Selection(sample, rows).values(BEFORE, lambda _: broken)
    plain = fusion_of(
        {"schema_version": 1, "scenes": {**DOCUMENT["scenes"], "learned": DOCUMENT["scenes"]["default"]}}
    )
    np.testing.assert_array_equal(found, Selection(sample, rows).values(plain, lambda _: broken))
