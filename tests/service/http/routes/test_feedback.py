"""Feedback over real HTTP: what is taken, what is rejected by index, and what is refused."""

from __future__ import annotations

import sqlite3
import time

import pytest

from model.client import send_feedback
from model.errors import FulcrumError
from service.contract.answers import FeedbackReceipt, Readiness
from tests.support.feedback import event, kept

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("feedback") / "events"


@pytest.fixture(scope="module")
def keeping(serve, watched, folder):
    """A service that keeps feedback."""
    with serve(bundle=watched.bundle, events=folder, max_body_bytes=1 << 21) as running:
        yield running


def send(service, *events):
    answer = service.http.post("/v1/feedback", json={"events": list(events)})
    assert answer.status_code == 202, answer.text
    FeedbackReceipt.model_validate(answer.json())
    return answer.json()


def test_what_is_accepted_is_kept_as_it_was_sent(keeping, folder):
    before = time.time_ns() // 1_000_000
    sent = [
        event("kept-1", value=True),
        event("kept-2", kind="play_ms", value=2**53),
        event("kept-3", kind="rating", value=0.1, item_id="ü🎬"),
    ]
    assert send(keeping, *sent) == {"accepted": 3, "rejected": []}
    after = time.time_ns() // 1_000_000
    rows = kept(folder)
    for one in sent:
        *row, received_ms = rows[one["event_id"]]
        assert row == [one[key] for key in ("exposure_id", "item_id", "kind", "value", "time_ms")]
        assert before <= received_ms <= after


def test_the_first_event_of_an_id_stays_and_a_repeated_request_is_taken(keeping, folder):
    first, second = event("twice", item_id="a"), event("twice", item_id="b")
    assert send(keeping, first, second) == {"accepted": 2, "rejected": []}
    assert send(keeping, second) == {"accepted": 1, "rejected": []}
    assert kept(folder)["twice"][1] == "a"


def test_each_event_is_rejected_for_itself_by_its_index(keeping, folder):
    now = time.time_ns() // 1_000_000
    cases = {
        "an object": 7,
        "unknown key": event("r", odd=1),
        "time_ms is missing": {key: value for key, value in event("r").items() if key != "time_ms"},
        "event_id: expected text": event(""),
        "exposure_id: an id is at most 256": event("r", exposure_id="x" * 257),
        "item_id: expected text without a null": event("r", item_id="a\0b"),
        "unknown kind 'views'; the kinds are is_click, play_ms, rating": event("r", kind="views"),
        "is_click takes true or false, found 1": event("r", value=1),
        "play_ms takes a whole number": event("r", kind="play_ms", value=1.5),
        "rating takes a finite number": event("r", kind="rating", value="high"),
        "whole milliseconds": event("r", time_ms=float(now)),
        "ahead of the service's clock": event("r", time_ms=now + 600_000),
        "s back; expected at most": event("r", time_ms=now - 2 * DAY_MS),
    }
    good = [event(f"among-{place}") for place in range(len(cases))]
    answer = send(keeping, *(one for pair in zip(cases.values(), good, strict=True) for one in pair))
    assert answer["accepted"] == len(good)
    assert [one["index"] for one in answer["rejected"]] == list(range(0, 2 * len(cases), 2))
    for part, one in zip(cases, answer["rejected"], strict=True):
        assert part in one["reason"]
    rows = kept(folder)
    assert "r" not in rows
    assert all(one["event_id"] in rows for one in good)


def test_a_thousand_events_are_taken_and_one_more_is_refused_whole(keeping, folder):
    events = [event(f"many-{number}") for number in range(1001)]
    assert send(keeping, *events[:1000]) == {"accepted": 1000, "rejected": []}
    answer = keeping.http.post("/v1/feedback", json={"events": [*events[:1000], event("beyond")]})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "events")
    assert "at most 1,000 events, found 1,001" in answer.json()["detail"]
    assert "beyond" not in kept(folder)
    assert send(keeping) == {"accepted": 0, "rejected": []}


@pytest.mark.parametrize(
    ("body", "field", "part"),
    [
        (b"rubbish", "body", "not valid JSON"),
        (b"[]", "body", "expected an object with the key events, found a list of 0"),
        (b"{}", "events", "is missing"),
        (b'{"events": null}', "events", "expected a list, found null"),
        (b'{"events": [], "event": 1}', "event", "unknown key"),
        (b'{"events": [], "events": []}', "events", "stands twice"),
        (b'{"events": [{"value": 1, "value": 2}]}', "value", "stands twice"),
        (b'{"events": [{"value": NaN}]}', "body", "not valid JSON"),
        (b'{"events": [{"value": "\\ud800"}]}', "body", "not valid JSON"),
        (b'{"events": [' + b"[" * 20 + b"]" * 20 + b"]}", "body", "nested deeper"),
    ],
)
def test_a_malformed_body_is_refused_by_field(keeping, body, field, part):
    answer = keeping.http.post("/v1/feedback", content=body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["errors"][0]["field"] == field
    assert part in answer.json()["detail"]


def test_bodies_have_the_bounds_of_rankings(keeping):
    post = keeping.http.post
    assert post("/v1/feedback", content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    assert post("/v1/feedback", content=b"{}", headers={"content-encoding": "gzip"}).status_code == 415
    assert post("/v1/feedback", content=b" " * ((1 << 21) + 1)).status_code == 413


def test_without_a_folder_or_kinds_there_is_no_such_path_and_the_answer_says_why(serve, served, tmp_path):
    with serve(events=tmp_path / "events") as no_kinds:
        for service, part in ((served, "--events DIR (FULCRUM_EVENTS)"), (no_kinds, "declare `events:`")):
            answer = service.http.post("/v1/feedback", json={"events": []})
            assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
            assert part in answer.json()["detail"]


def test_a_folder_that_goes_and_comes_back_is_told_and_rankings_go_on(serve, watched, tmp_path):
    events = tmp_path / "events"

    def state(service):
        report = service.http.get("/readyz").json()
        Readiness.model_validate(report)
        return report["feedback"]

    with serve(bundle=watched.bundle, events=events) as service:
        send(service, event("before"))
        assert state(service) == "written"
        events.rename(tmp_path / "elsewhere")
        answer = service.http.post("/v1/feedback", json={"events": [event("meanwhile")]})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "No such file" in answer.json()["detail"]
        assert state(service).startswith("failing: No such file")
        service.rank(candidate_ids=["v1"])
        (tmp_path / "elsewhere").rename(events)
        send(service, event("after"))
        assert state(service) == "written"
        text = service.http.get("/metrics").text
    assert set(kept(events)) == {"before", "after"}
    for line in (
        'fulcrum_feedback_events_total{outcome="written"} 2.0',
        'fulcrum_feedback_events_total{outcome="duplicate"} 0.0',
        'fulcrum_feedback_events_total{outcome="rejected"} 0.0',
        'fulcrum_feedback_refused_total{reason="sink_away"} 1.0',
        "fulcrum_feedback_commit_events_sum 2.0",
        "fulcrum_feedback_commit_seconds_count 2.0",
    ):
        assert line in text, line


def test_a_python_client_sends_what_viewers_did_and_hears_what_was_rejected(keeping, folder, served):
    answer = send_feedback(str(keeping.http.base_url), [event("by-client"), event("odd", kind="views")])
    assert (answer["accepted"], [one["index"] for one in answer["rejected"]]) == (1, [1])
    assert "by-client" in kept(folder)
    with pytest.raises(FulcrumError, match=r"404 .*--events DIR"):
        send_feedback(str(served.http.base_url), [])


def test_the_documented_example_really_works(keeping):
    document = keeping.http.get("/openapi.json").json()
    operation = document["paths"]["/v1/feedback"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    documented = operation["responses"]["202"]["content"]["application/json"]["example"]
    assert send(keeping, *example["events"]) == documented
    schemas = document["components"]["schemas"]
    assert {"FeedbackRequest", "FeedbackReceipt", "RejectedEvent"} <= set(schemas)
    assert schemas["FeedbackRequest"]["properties"]["events"]["maxItems"] == 1000


def test_a_database_of_another_version_keeps_the_service_from_its_start(watched, tmp_path):
    from service.processes.fleet import Fleet
    from service.settings import Settings
    from service.startup import load_service
    from service.telemetry.metrics import Metrics

    with sqlite3.connect(tmp_path / "feedback.sqlite") as other:
        other.execute("PRAGMA user_version = 2")
    settings = Settings(bundle=watched.bundle, features=str(watched.features), events=tmp_path)
    with pytest.raises(Exception, match="feedback of version 2; this program writes version 1"):
        load_service(settings, Metrics(Fleet()), Fleet())
