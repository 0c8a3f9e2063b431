"""Events as messages: what is sent reads back to the bit, and rubbish is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import orjson
import pytest

from model.events import Candidates, Exposure, Feedback, PackedCandidates
from model.events.wire import exposure_message, feedback_message, read_exposure

CANDIDATES = Candidates(
    ids=["v1", "ü2", "v3"],
    video_len_s=np.array([0.1, np.nan, 31.5]),
    predictions={"vtr": np.array([0.1, np.nan, 1e-20], np.float32)},
    rows=PackedCandidates("g1", b"\x00\xff", b"abc"),
)
EXPOSURE = Exposure(
    exposure_id="018f0000-0000-7000-8000-000000000000",
    request_id=None,
    time_ms=1_700_000_000_123,
    user="u1",
    unit_hash=2**64 - 1,
    scene="default",
    context={"tab": "feed", "hour": 21},
    bundle_version="sha256:a",
    variant="fp32",
    fusion_version="sha256:b",
    revision=3,
    arms=["ranking/w:b"],
    weights={"vtr": 0.1, "video_len": 1 / 3},
    explored=True,
    degraded=["deadline"],
    items=["v3", "v1"],
    item_len_s=np.array([31.5, np.nan]),
    candidates=CANDIDATES,
    session="s1",
)


def _plain(exposure: Exposure) -> dict[str, object]:
    arrays = ("item_len_s", "candidates")
    return {
        field.name: getattr(exposure, field.name)
        for field in dataclasses.fields(exposure)
        if field.name not in arrays
    }


def test_an_exposure_reads_back_to_the_bit() -> None:
    found = read_exposure(exposure_message(EXPOSURE))
    assert _plain(found) == _plain(EXPOSURE)
    assert found.candidates is not None
    assert found.candidates.ids == CANDIDATES.ids
    assert found.candidates.rows == CANDIDATES.rows or (
        found.candidates.rows is not None
        and dataclasses.astuple(found.candidates.rows) == dataclasses.astuple(CANDIDATES.rows)  # type: ignore[arg-type]
    )
    for ours, theirs in (
        (found.item_len_s, EXPOSURE.item_len_s),
        (found.candidates.video_len_s, CANDIDATES.video_len_s),
        (found.candidates.predictions["vtr"], CANDIDATES.predictions["vtr"]),
    ):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_a_message_of_an_older_service_has_no_session() -> None:
    document = orjson.loads(exposure_message(EXPOSURE))
    del document["session"]
    assert read_exposure(orjson.dumps(document)).session is None


def test_predictions_of_all_magnitudes_read_back_to_the_bit() -> None:
    p = np.random.default_rng(1).integers(0, 0x3F80_0000, 5_000, dtype=np.uint32).view(np.float32)
    logged = dataclasses.replace(
        CANDIDATES, ids=[str(k) for k in range(5_000)], video_len_s=np.ones(5_000), predictions={"vtr": p}
    )
    found = read_exposure(exposure_message(dataclasses.replace(EXPOSURE, candidates=logged))).candidates
    assert found is not None
    np.testing.assert_array_equal(found.predictions["vtr"].view(np.uint32), p.view(np.uint32))


def test_an_exposure_without_candidates_has_none_after_the_way() -> None:
    assert read_exposure(exposure_message(dataclasses.replace(EXPOSURE, candidates=None))).candidates is None


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        orjson.dumps({**orjson.loads(exposure_message(EXPOSURE)), "items": 3}),
        orjson.dumps({**orjson.loads(exposure_message(EXPOSURE)), "time_ms": "now"}),
        orjson.dumps({**orjson.loads(exposure_message(EXPOSURE)), "item_len_s": ["x"]}),
        orjson.dumps({**orjson.loads(exposure_message(EXPOSURE)), "candidates": {"ids": []}}),
    ],
)
def test_what_is_no_exposure_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match="not an exposure"):
        read_exposure(message)


def test_feedback_is_json_by_the_names_of_the_contract() -> None:
    event = Feedback("e1", "x", "v1", "is_share", 1.0, 5, 6)
    assert orjson.loads(feedback_message(event)) == dataclasses.asdict(event)
