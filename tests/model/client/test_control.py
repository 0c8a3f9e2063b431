"""Callers of a service's control: what is sent, what is answered, and the errors that callers act upon."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from model.client import control
from model.client.control import AsyncControl, Control, RefusedError, UnreachableError
from model.errors import FulcrumError
from tests.support.control_service import Service, config
from tests.support.control_site import Site, running


@pytest.fixture
def site() -> Iterator[Site]:
    with running(Service()) as site:
        yield site


def test_a_revision_goes_all_the_way(site: Site) -> None:
    changed = config()
    changed["scenes"]["default"]["tasks"]["vtr"]["weight"] = 3.0
    with Control(site.url, "token-of-anna") as caller:
        assert caller.send(control.actor())["actor"] == "anna"
        made = caller.send(control.propose(changed, parent=1, note="more"))
        assert (made["revision"], made["unfit"]) == (2, None)
        assert caller.send(control.activate(2, if_active=1, why="try"))["active"] == 2
        assert caller.send(control.revision(2))["config"] == made["config"]
        assert caller.send(control.rollback(if_active=2, why="no"))["active"] == 1
        assert [one["revision"] for one in caller.send(control.revisions())["revisions"]] == [2, 1]
        assert [one["why"] for one in caller.send(control.audit())["events"]] == ["no", "try", "more"]
        assert (
            caller.send(control.activate(2, if_active=1, why="later", at_ms=1 << 42))["scheduled"]["revision"]
            == 2
        )
        caller.send(control.cancel_schedule("never"))
        assert caller.send(control.preview({"recent": 10, "revision": 2}))["requests"] == 10
        assert b"fulcrum_workers_ready" in caller.send(control.metrics())


def test_a_refusal_has_a_status_and_says_why(site: Site) -> None:
    with Control(site.url, "token-of-anna") as caller, pytest.raises(RefusedError) as stale:
        caller.send(control.activate(1, if_active=7, why="x"))
    assert stale.value.status == 409
    assert stale.value.detail.startswith("revision 1 is active, not 7")
    assert str(stale.value).startswith(f"{site.url}/v1/fusion/revisions/1/activate: 409 ")
    with Control(site.url, "wrong") as stranger, pytest.raises(RefusedError) as unknown:
        stranger.send(control.actor())
    assert unknown.value.status == 401


def test_a_refusal_for_now_says_when_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = {"status": 503, "title": "The service is overloaded", "detail": "busy"}
    for said, seconds in (({"retry-after": "5"}, 5), ({"retry-after": "Fri, 01 Jan 2027"}, None), ({}, None)):
        answer = httpx.Response(503, json=problem, headers=said)
        monkeypatch.setattr(httpx.Client, "request", lambda *_, answer=answer, **__: answer)
        with Control("http://127.0.0.1:1") as caller, pytest.raises(RefusedError) as busy:
            caller.send(control.actor())
        assert busy.value.retry_after_s == seconds


def test_a_body_that_is_too_large_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = {"status": 413, "title": "The body is too large", "detail": "the body has more than 9 bytes"}
    answer = httpx.Response(413, json=problem)
    monkeypatch.setattr(httpx.Client, "request", lambda *_, **__: answer)
    with Control("http://127.0.0.1:1") as caller, pytest.raises(RefusedError) as large:
        caller.send(control.propose({}))
    assert "more than 9 bytes; raise FULCRUM_MAX_BODY_BYTES of the service" in str(large.value)
    assert large.value.detail == "the body has more than 9 bytes"


def test_no_answer_is_told_from_a_refusal(site: Site) -> None:
    site.down()
    with (
        Control(site.url) as caller,
        pytest.raises(UnreachableError, match="is `fulcrum serve` running there"),
    ):
        caller.send(control.fusion())
    site.up()
    with Control(site.url) as caller:
        assert caller.send(control.fusion())["revision"] == 1


def test_many_actors_ask_through_one_caller(site: Site) -> None:
    async def ask() -> list[str | None]:
        caller = AsyncControl(f"{site.url}/")
        assert caller.shown == site.url
        tokens = [None, "token-of-anna", "token-of-paul"]
        found = await asyncio.gather(*(caller.send(control.actor(), token) for token in tokens))
        await caller.close()
        return [one["actor"] for one in found]

    assert asyncio.run(ask()) == [None, "anna", "paul"]


@pytest.mark.parametrize("token", ["", "two words", "schl\u00fcssel", "line\nbreak"])
def test_what_cannot_be_a_token_is_refused_before_it_is_sent(token: str) -> None:
    with pytest.raises(FulcrumError, match="not a token"):
        Control("http://127.0.0.1:1", token)
