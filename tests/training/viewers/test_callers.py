from collections import Counter

import httpx
import numpy as np
import pytest

from model.errors import FulcrumError
from training.progress import Advanced
from training.viewers import Mishaps, Traffic, call, callers, sender
from training.viewers.feedback import known_kinds
from training.viewers.visits import Audience

URL = "http://127.0.0.1:1"


def traffic(**settings) -> Traffic:
    return Traffic(**{"url": URL, "requests": 120, "kinds": known_kinds(None), **settings})


def outcome(audience: Audience, **settings):
    return call(audience, traffic(**settings))


def test_a_request_is_a_visit(audience: Audience, service) -> None:
    outcome(audience, scene="feed")
    visits = {f"3-{visit.number}": visit for visit in audience.visits(120)}
    assert len(service.asked) == 120
    for body in service.asked:
        visit = visits[body["request_id"]]
        assert body["user_id"] == f"u{visit.user}"
        assert body["candidate_ids"] == [f"v{video}" for video in visit.candidates]
        assert body["context"] == {"hour": visit.hour, "tab": ("feed", "discover", "friends")[visit.tab]}
        assert (body["top_k"], body["scene"], body["fields"]) == (5, "feed", [])


def test_what_comes_of_it_does_not_depend_on_how_many_call_at_a_time(audience: Audience, service) -> None:
    reports, events = [], []
    for count in (1, 16):
        service.events.clear()
        reports.append(outcome(audience, callers=count).report())
        events.append(sorted((event["event_id"], event["value"]) for event in service.events))
    for key in (
        "true_reward",
        "true_reward_interval",
        "realised_reward",
        "realised_reward_interval",
        "feedback",
    ):
        assert reports[0][key] == reports[1][key], key
    assert events[0] == events[1]
    assert len(events[0]) == reports[0]["feedback"]["accepted"] > 100


def test_two_services_meet_the_same_chances(audience: Audience, service) -> None:
    """What both show first is watched alike, so that their difference is that of their orders alone."""

    def played() -> dict[tuple[str, str], int]:
        service.events.clear()
        outcome(audience)
        return {
            (event["exposure_id"], event["item_id"]): event["value"]
            for event in service.events
            if event["kind"] == "play_time_ms"
        }

    one = played()
    service.order = lambda video: int(video[1:]) % 7
    other = played()
    assert one.keys() != other.keys()
    both = one.keys() & other.keys()
    assert len(both) > 20
    assert all(one[key] == other[key] for key in both)


def test_a_better_order_has_a_better_true_reward(audience: Audience, service) -> None:
    world = audience.world
    worth = {f"v{k}": float(world.truth(list(world.user_ids), f"v{k}").reward.mean()) for k in range(80)}
    service.order = worth.__getitem__
    bad = outcome(audience).tally
    service.order = lambda video: -worth[video]
    good = outcome(audience).tally
    gain, (low, _) = good.gain(bad)
    assert gain > low > 0


def test_failing_requests_are_counted(audience: Audience, service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "_PAUSE_S", 0.0)
    problem = {"status": 503, "title": "Overloaded", "detail": "later", "errors": []}

    def fails(path: str, number: int) -> httpx.Response | None:
        if path == "/v1/rank" and number % 4 == 0:
            return httpx.Response(503, json=problem)
        if path == "/v1/rank" and number % 4 == 1:
            raise httpx.ReadError("cut")
        return None

    service.fails = fails
    report = outcome(audience, callers=1).report()
    assert (report["requests"], report["errors"]) == (120, 60)
    assert report["first_error"] == "503 Overloaded: later"
    assert report["true_reward"] > 0


def test_an_answer_of_what_was_not_asked_for_is_an_error(audience: Audience, service) -> None:
    strange = {"exposure_id": "x", "items": [{"id": "v9999"}]}
    service.fails = lambda path, number: httpx.Response(200, json=strange) if path == "/v1/rank" else None
    result = outcome(audience, requests=2)
    assert result.errors == 2
    assert "not asked for" in (result.first_error or "")


def test_a_service_that_is_away_is_one_clear_line(audience: Audience) -> None:
    with pytest.raises(
        FulcrumError, match=r"^http://127\.0\.0\.1:1/: no answer .*is `fulcrum serve` running"
    ):
        outcome(audience)


def test_callers_go_when_nobody_answers_for_long(audience: Audience, service, monkeypatch) -> None:
    monkeypatch.setattr(callers, "_PAUSE_S", 0.0)
    monkeypatch.setattr(callers, "PATIENCE_S", 0.0)

    def fails(path: str, number: int) -> None:
        if path == "/v1/rank" and number >= 10:
            raise httpx.ConnectError("refused")

    service.fails = fails
    with pytest.raises(FulcrumError, match=r"no ranking for 0 s, after 10 of 120: ConnectError refused"):
        outcome(audience)


def test_a_service_without_events_says_what_to_do(audience: Audience, service) -> None:
    gone = httpx.Response(
        404, json={"status": 404, "title": "Not Found", "detail": "no events", "errors": []}
    )
    service.fails = lambda path, number: gone if path == "/v1/feedback" else None
    with pytest.raises(FulcrumError, match=r"/v1/feedback: 404 Not Found: no events \(--no-feedback asks"):
        outcome(audience)


def test_without_feedback_nothing_is_sent(audience: Audience, service) -> None:
    assert outcome(audience, kinds=()).feedback.accepted == 0
    assert service.events == []


def test_feedback_is_sent_again_where_it_was_not_taken(audience: Audience, service, monkeypatch) -> None:
    monkeypatch.setattr(sender, "_PAUSE_S", 0.0)
    service.fails = lambda path, number: (
        httpx.Response(503) if path == "/v1/feedback" and number < 3 else None
    )
    result = outcome(audience)
    assert result.feedback.unsent == 0
    assert result.feedback.accepted == len(service.events) > 100


def test_feedback_that_nobody_takes_is_counted(audience: Audience, service, monkeypatch) -> None:
    monkeypatch.setattr(sender, "_PATIENCE_S", 0.0)
    service.fails = lambda path, number: httpx.Response(503) if path == "/v1/feedback" else None
    result = outcome(audience)
    assert result.errors == 0
    assert result.feedback.unsent > 100
    assert "503" in (result.feedback.first_failure or "")


def test_late_doubled_and_shuffled_events_are_the_same_events(audience: Audience, service) -> None:
    plain = outcome(audience)
    once = Counter(event["event_id"] for event in service.events)
    straight = [event["event_id"] for event in service.events]
    service.events.clear()
    crossed = outcome(audience, mishaps=Mishaps(late=0.3, double=0.3, shuffle=True))
    events = [event["event_id"] for event in service.events]
    assert set(events) == set(once)
    assert len(events) == crossed.feedback.accepted > 1.2 * plain.feedback.accepted
    assert list(dict.fromkeys(events)) != straight
    assert max(service.batches) <= 1_000
    assert crossed.report()["realised_reward"] == plain.report()["realised_reward"]


def test_with_a_rate_requests_are_sent_when_they_are_due(audience: Audience, service) -> None:
    assert outcome(audience, requests=20, rate=100.0, callers=30).seconds >= 0.19


def test_progress_is_told(audience: Audience, service) -> None:
    seen = []
    call(audience, traffic(), seen.append)
    assert seen[-1] == Advanced("asking", 120, 120, "requests")
    assert np.all(np.diff([event.done for event in seen]) > 0)
