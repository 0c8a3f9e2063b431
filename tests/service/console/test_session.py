"""A tab's session: edits that go upon another base, and what a token may."""

from __future__ import annotations

from typing import Any

import pytest

from model.client import control
from model.errors import FulcrumError
from service.console.kept import Browsers
from service.console.session import Session, merged
from service.console.watch import Watch
from tests.support import control_site
from tests.support.control_service import Service, config
from tests.support.control_site import running


def test_edits_go_upon_another_base_and_leave_the_rest_of_it() -> None:
    base = {"a": 1, "b": {"c": 2, "d": 3}, "gone": 4}
    edited = {"a": 1, "b": {"c": 9, "d": 3}, "new": 5}
    assert merged(base, edited, {"a": 7, "b": {"c": 2, "d": 8}, "gone": 4}) == {
        "a": 7,
        "b": {"c": 9, "d": 8},
        "new": 5,
    }


def test_of_a_value_that_both_changed_the_edit_holds() -> None:
    assert merged({"a": 1}, {"a": 2}, {"a": 3}) == {"a": 2}
    assert merged({"a": {"k": 1}}, {"a": {"k": 2}}, {"b": 1}) == {"b": 1, "a": {"k": 2}}


async def watching(url: str) -> Watch:
    watch = Watch(control.AsyncControl(url))
    await watch.look()
    return watch


def run(work: Any) -> Any:
    import asyncio

    return asyncio.run(work)


def test_a_token_says_what_may_be_done_and_a_wrong_one_changes_nothing() -> None:
    async def work(url: str) -> None:
        session = Session(await watching(url))
        session.take_base()
        assert session.why_not("propose") == "needs the scope propose: sign in"
        await session.sign_in("token-of-paul")
        assert session.why_not("propose") is None
        assert session.why_not("activate") == "needs the scope activate: paul may not"
        with pytest.raises(FulcrumError, match="401"):
            await session.sign_in("wrong")
        assert session.actor == "paul"
        session.sign_out()
        assert session.actor is None
        await session.watch.service.close()

    with running(Service()) as site:
        run(work(site.url))


def test_a_tab_goes_on_where_it_was() -> None:
    async def work(url: str) -> None:
        kept: dict[str, Any] = {}
        session = Session(await watching(url))
        await session.resume(kept)
        session.take_base()
        await session.sign_in("token-of-anna")
        session.edit({**session.config["scenes"]["default"], "video_len": {"kind": "none"}})
        again = Session(session.watch)
        await again.resume(kept)
        assert again.edited
        assert again.config == session.config
        assert again.actor == "anna"
        await session.watch.service.close()

    with running(Service()) as site:
        run(work(site.url))


def test_who_is_signed_in_stays_so_while_the_service_is_away() -> None:
    async def work(site: Any) -> None:
        kept: dict[str, Any] = {}
        session = Session(await watching(site.url))
        await session.resume(kept)
        await session.sign_in("token-of-anna")
        site.down()
        again = Session(session.watch)
        await again.resume(kept)
        assert (again.actor, again.why_not("activate", revisions=False)) == ("anna", None)
        site.up()
        await session.watch.service.close()

    with running(Service()) as site:
        run(work(site))


def test_a_token_that_is_known_no_more_signs_out_and_what_was_asked_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work(url: str) -> None:
        kept: dict[str, Any] = {}
        session = Session(await watching(url))
        await session.resume(kept)
        await session.sign_in("token-of-paul")
        monkeypatch.delitem(control_site.TOKENS, "token-of-paul")
        assert (await session.send(control.revisions()))["active"] == 1
        assert (session.actor, session.lost, kept["token"]) == (None, "paul", None)
        await session.sign_in("token-of-lea")
        assert (session.actor, session.lost) == ("lea", None)
        await session.watch.service.close()

    with running(Service()) as site:
        run(work(site.url))


def test_what_is_kept_is_of_one_browser_and_forgotten_after_a_time() -> None:
    now = [0.0]
    browsers = Browsers(10.0, clock=lambda: now[0])
    mine = browsers.browser("a").tabs.setdefault("tab", {})
    mine.update(token="secret", used=5.0)
    assert browsers.browser("b").tabs == {}
    now[0] = 14.0
    assert browsers.browser("a").tabs["tab"] is mine
    browsers.browser("a").sign_out()
    assert mine["token"] is None
    now[0] = 16.0
    assert browsers.browser("a").tabs == {}


def test_a_base_that_is_no_longer_in_force_is_stale() -> None:
    async def work(url: str, service: Service) -> None:
        session = Session(await watching(url))
        session.take_base()
        changed = config()
        changed["scenes"]["default"]["tasks"]["vtr"]["weight"] = 3.0
        service.activate(service.propose(changed, "other"))
        assert not session.stale
        await session.watch.look()
        assert session.stale
        session.take_base(keep_edits=True)
        assert (session.stale, session.edited) == (False, False)
        await session.watch.service.close()

    with running(Service()) as site:
        run(work(site.url, site.service))


def test_a_watch_says_since_when_there_is_no_answer() -> None:
    async def work(url: str, down: Any) -> None:
        watch = await watching(url)
        assert watch.problem is None
        down()
        await watch.look()
        since = watch.since
        await watch.look()
        assert watch.problem is not None
        assert "is `fulcrum serve` running there?" in watch.problem
        assert watch.since == since
        assert watch.active == (1, watch.fusion["version"] if watch.fusion else None)
        await watch.service.close()

    with running(Service()) as site:
        run(work(site.url, site.down))
