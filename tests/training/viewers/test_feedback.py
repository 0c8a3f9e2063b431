import numpy as np
import pytest

from model.events import EventCatalogue, FeedbackKind
from training.simulation import Behaviour
from training.viewers.feedback import CHANCES, Mishaps, events_of, known_kinds

KINDS = known_kinds(None)
MANY = 2_000


def behaviour(n: int = 2) -> Behaviour:
    some = np.arange(n) % 2 == 0
    return Behaviour(
        play_time_ms=np.where(some, 5_200, 0),
        is_click=some,
        is_share=~some,
        is_comment=some & ~some,
        is_like=some,
    )


def sent(mishaps: Mishaps, n: int = 2, kinds=KINDS):
    chances = np.random.default_rng(0).random((n, len(kinds) * CHANCES))
    items = [f"v{k}" for k in range(n)]
    return list(events_of(behaviour(n), kinds, "x", items, 77, mishaps, chances))


def test_only_what_happened_is_sent() -> None:
    events = [event for event, _ in sent(Mishaps())]
    assert [(event["item_id"], event["kind"], event["value"]) for event in events] == [
        ("v0", "play_time_ms", 5_200),
        ("v0", "is_click", True),
        ("v0", "is_like", True),
        ("v1", "is_share", True),
    ]
    assert events[0] == {
        "event_id": "x:v0:play_time_ms",
        "exposure_id": "x",
        "item_id": "v0",
        "kind": "play_time_ms",
        "value": 5_200,
        "time_ms": 77,
    }


def test_a_kind_is_named_as_the_catalogue_names_it_and_known_by_its_column() -> None:
    kinds = (FeedbackKind(kind="watch", type="number", column="play_time_ms"), FeedbackKind(kind="seen"))
    (known,) = known_kinds(EventCatalogue(kinds=kinds))
    assert [event["kind"] for event, _ in sent(Mishaps(), kinds=(known,))] == ["watch"]


@pytest.mark.parametrize(
    ("mishaps", "times", "late"),
    [
        (Mishaps(), 1.0, 0.0),
        (Mishaps(lost=0.3), 0.7, 0.0),
        (Mishaps(late=0.2), 1.0, 0.2),
        (Mishaps(double=0.3), 1.3, 0.3),
        (Mishaps(lost=1.0, double=1.0), 0.0, 0.0),
    ],
)
def test_mishaps_befall_their_share_of_events(mishaps: Mishaps, times: float, late: float) -> None:
    happened = len(sent(Mishaps(), MANY))
    events = sent(mishaps, MANY)
    assert len(events) / happened == pytest.approx(times, abs=0.03)
    assert sum(is_late for _, is_late in events) / happened == pytest.approx(late, abs=0.03)
    distinct = {event["event_id"] for event, _ in events}
    assert len(distinct) / happened == pytest.approx(1.0 - mishaps.lost, abs=0.03)
