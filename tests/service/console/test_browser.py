"""The console as people meet it: in a browser, two at once, while the service goes and comes back."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.console_page import (
    ANNA,
    CONNECT,
    PARTS,
    PAUL,
    confirm,
    figure,
    fits,
    has_value,
    serious,
    set_weight,
    show,
)
from tests.support.control_service import Service, config
from tests.support.control_site import TOKENS, Site
from tests.support.experiments_in_memory import LAYER, look, report

pytestmark = pytest.mark.slow

Open = Callable[..., Any]


def test_a_slider_shows_what_would_change_while_it_moves(open_page: Open) -> None:
    service = Service()
    page = open_page(service=service)
    page.get_by_text("answered in").wait_for()
    assert figure(page, "another first") == "0.0 %"
    slider = page.get_by_role("slider", name="shr weight")
    slider.focus()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("End")
    has_value(page, "shr weight, as a number", "2")
    page.get_by_text("was 0.84").wait_for()
    changed = config()
    changed["scenes"]["default"]["tasks"]["shr"]["weight"] = 2.0
    truth = service.preview({"recent": 300, "config": changed, "top": 10}, ids=False)
    share = f"{100 * truth['changed_first']:.1f} %"
    page.locator(".every .figures dd", has_text=share).first.wait_for()
    assert figure(page, "Kendall tau") == f"{truth['kendall_tau']:.3f}"
    assert service.most_previews_at_once == 1
    page.locator("table.items .up").first.wait_for()  # the one request comes after all of them
    assert page.locator("table.items tbody tr").count() == 10


def test_a_number_that_cannot_be_says_so_and_the_one_before_it_holds(open_page: Open) -> None:
    page = open_page(service=Service())
    set_weight(page, "vtr", 0.3)
    page.get_by_text("was 1", exact=True).first.wait_for()
    for typed in ("700", ""):
        page.get_by_label("vtr weight, as a number").fill(typed)
        page.get_by_text("to 100; 0.3 holds").wait_for()
        assert page.get_by_text("Reset 1 edit").is_visible()
        set_weight(page, "vtr", 0.3)
        page.get_by_text("to 100; 0.3 holds").wait_for(state="hidden")


def test_the_text_fields_the_kind_and_the_scene_are_edited_too(open_page: Open) -> None:
    page = open_page(service=Service(first=config(scenes=3)))
    page.get_by_label("Kind of f").click()
    page.get_by_role("option", name="lognormal").click()
    page.get_by_role("slider", name="video_len mode in s").wait_for()
    page.get_by_label("Scene").click()
    page.get_by_role("option", name="scene_2").click()
    page.get_by_text("scene scene_2").wait_for()
    set_weight(page, "vtr", 0.25)
    show(page, "Propose")
    page.get_by_text("scene_2: vtr.weight 1 -> 0.25").wait_for()
    assert page.get_by_text(re.compile("default: video_len.kind .*log.* -> .*lognormal")).is_visible()
    text = page.get_by_label("The edited config, YAML")
    written = text.input_value()
    text.fill(f"{written}schema_version: 1\n")
    page.get_by_role("button", name="Take the text").click()
    page.get_by_text(
        re.compile("schema_version.*(twice|duplicate|again)|(twice|duplicate).*schema_version")
    ).wait_for()
    text.fill(written.replace("weight: 0.25", "weight: 700"))
    page.get_by_role("button", name="Take the text").click()
    page.get_by_text("less than or equal to 100").or_(page.get_by_text("at most 100")).first.wait_for()


def test_who_has_no_token_looks_and_reads_why_the_rest_is_disabled(open_page: Open) -> None:
    service = Service()
    page = open_page(service=service)
    set_weight(page, "vtr", 0.25)
    page.locator("table.items").get_by_text("candidate").first.wait_for()
    show(page, "Propose")
    assert page.get_by_role("button", name="Propose revision").is_disabled()
    assert page.get_by_text("needs the scope propose: sign in").is_visible()
    show(page, "History")
    assert page.get_by_role("button", name="Roll back").is_disabled()
    assert page.get_by_text("needs the scope activate: sign in").is_visible()
    show(page, "Audit")
    page.get_by_text("needs the scope read: sign in").wait_for()
    show(page, "Experiments")
    page.get_by_text("No experiments yet").wait_for()
    service.layers, service.experiments = [LAYER], [report("less")]
    page.get_by_text("Not started: nobody takes part but testers").wait_for()
    assert page.get_by_role("button", name="Start").is_disabled()
    assert page.get_by_text("needs the scope activate: sign in").is_visible()
    service.experiments = []
    page.get_by_text("Not started: nobody takes part but testers").wait_for(state="hidden")


def test_a_revision_is_proposed_activated_and_rolled_back(open_page: Open) -> None:
    service = Service()
    page = open_page(ANNA, service)
    show(page, "Audit")
    page.get_by_text("Nothing was changed yet").wait_for()
    show(page, "Play")
    set_weight(page, "vtr", 0.3)
    show(page, "Propose")
    page.get_by_label("Note").fill("Fewer <b>long</b> views")
    page.get_by_role("button", name="Propose revision").click()
    page.get_by_role("button", name="Activate 2").click()
    said = confirm(page, "Activate 2", "less of it")
    assert "default: vtr.weight 1 -> 0.3" in said
    assert re.search(r"another item comes first in [\d.]+ %", said)
    assert service.trail == [1, 2]
    page.get_by_text("Revision 2 is proposed; it is not active").wait_for(state="hidden")
    page.get_by_text("revision 2", exact=False).first.wait_for()
    assert not page.get_by_text("is active since").is_visible()  # one's own change is no surprise
    show(page, "History")
    page.get_by_text("Fewer <b>long</b> views").wait_for()
    page.get_by_role("button", name="Roll back from 2 to 1").click()
    assert "default: vtr.weight 0.3 -> 1" in confirm(page, "Roll back", "worse")
    assert service.trail == [1]
    show(page, "Audit")
    page.get_by_role("row", name="revision rolled back").wait_for()
    assert [(one["actor"], one["why"]) for one in service.events[1:]] == [
        ("anna", "less of it"),
        ("anna", "worse"),
    ]


def test_a_revision_is_scheduled_and_taken_back(open_page: Open) -> None:
    service = Service()
    changed = config()
    changed["scenes"]["default"]["tasks"]["vtr"]["weight"] = 0.1
    service.propose(changed, "for the weekend")
    page = open_page(ANNA, service)
    show(page, "History")
    page.get_by_role("button", name="Activate 2").click()
    page.get_by_role("dialog").get_by_label("At (").fill("2031-01-01T08:00")
    confirm(page, "Activate 2", "weekend")
    page.get_by_text("Scheduled by anna: revision 2 at 2031-01-01 08:00:00").wait_for()
    page.locator(".facts", has_text="revision 2 at 2031-01-01 08:00:00").wait_for()
    assert service.trail == [1]
    page.get_by_text("Revision 2 comes into force at 2031-01-01 08:00:00").wait_for()
    page.get_by_role("button", name="Take back").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Why").fill("no weekend")
    service.schedule["revision"] = 1  # somebody else's
    dialog.get_by_role("button", name="Take it back").click()
    dialog.get_by_text("another revision is scheduled than 2").wait_for()
    service.schedule["revision"] = 2
    dialog.get_by_role("button", name="Take it back").click()
    dialog.wait_for(state="hidden")
    assert service.schedule is None


def test_a_question_names_all_that_would_change(open_page: Open) -> None:
    service = Service(first=config(scenes=6))
    changed = config(scenes=5)
    for name, scene in changed["scenes"].items():
        scene["tasks"] = {**scene["tasks"], "vtr": {"weight": 0.1, "smoothing": 0.02}} | (
            {} if name == "default" else {"vcr": {"weight": 0.2, "smoothing": 0.02}}
        )
    service.propose(changed, "less")
    service.activate(service.propose(config(), "other"))
    service.trail = [1]
    service.schedule = {"revision": 3, "at_ms": 1924992000000, "if_active": 1, "bundle": None}
    service.schedule |= {"actor": "otto", "why": "\u202ethe weekend"}
    service.unfit = {3: "task xyz is missing"}
    page = open_page(ANNA, service)
    show(page, "History")
    page.get_by_role("button", name="Compare 3 with the active").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("could not serve with it: task xyz is missing").wait_for()
    dialog.get_by_role("button", name="Close").click()
    dialog.wait_for(state="hidden")
    page.get_by_role("button", name="Activate 3").click()
    dialog.get_by_text("could not serve with it: task xyz is missing").wait_for()
    dialog.get_by_label("Why").fill("because")
    assert dialog.get_by_role("button", name="Activate 3").is_disabled()
    dialog.get_by_role("button", name="Cancel").click()
    dialog.wait_for(state="hidden")
    page.get_by_role("button", name="Activate 2").click()
    said = confirm(page, "Activate 2", "because " * 200)
    assert "Scenes that are removed: scene_5." in said
    assert "Shown for 3 scenes, and 2 more scenes change: scene_3, scene_4." in said
    assert "This drops what is scheduled: revision 3 at 2031-01-01 00:00:00 UTC, by otto" in said
    page.get_by_text("Revision 2 is active; before it was 1").wait_for()
    assert service.schedule is None
    service.chosen = "sha256:" + "c" * 64
    page.get_by_role("button", name="Roll back from 2 to 1").click()
    assert "The bundle goes back too: from cccccccccc to the newest." in confirm(page, "Roll back", "worse")


def test_an_experiment_is_ramped_and_an_arm_of_it_given_to_everybody(open_page: Open) -> None:
    service = Service()
    patch = {"scenes": {"default": {"tasks": {"vtr": {"weight": 0.3}}}}}
    arms = [{"name": "control"}, {"name": "less", "patch": patch}]
    now_ms = int(time.time() * 1000)
    one = report("fewer_views", arms, state="running", since_ms=now_ms - 48 * 3_600_000)
    other = report("other", first=4000, state="running", since_ms=now_ms)
    service.layers, service.experiments = [LAYER], [one, other]
    service.looks = {"fewer_views": [look(one, hours, 0.02, 0.4 / hours) for hours in (12, 24, 48)]}
    one["look"] = service.looks["fewer_views"][-1]
    page = open_page(ANNA, service)
    show(page, "Experiments")
    page.get_by_role("img", name=re.compile("fewer_views. 0 to 1,999, 1,000 live: running")).wait_for()
    page.get_by_role("img", name="Difference of comments to the control; at last less").wait_for()
    page.get_by_role("button", name="Ramp").click()
    said = confirm(page, "Ramp", "all is well", shown="buckets")
    assert "From 1,000 of its 2,000 buckets, 10 % of all users, to 2,000 of its 2,000" in said
    assert "Of all users have then: control 10 %, less 10 %" in said
    assert "So far about 4,800 new users a day; then about 9,600" in said
    page.get_by_text("running, edition 2").wait_for()
    page.get_by_role("button", name="Pause").click()
    one["edition"] = 3  # by somebody else
    page.get_by_text("fewer_views was changed meanwhile: it is running, edition 3.").wait_for()
    assert page.get_by_role("dialog").get_by_role("button", name="Pause").is_disabled()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").wait_for(state="hidden")
    page.get_by_text("running, edition 3").wait_for()
    page.get_by_role("button", name="Give it to everybody").click()
    said = confirm(page, "less for everybody", "better")
    assert "All users get a new revision that its patch makes, which 10 % of them have now" in said
    assert "This pauses 1 running experiment: other" in said
    assert "default: vtr.weight 1 -> 0.3" in said
    page.get_by_text("Experiment fewer_views is decided: less; paused: other").wait_for()
    page.get_by_text("stopped, edition 4").wait_for()
    assert (service.trail, one["state"]) == ([1, 2], "stopped")
    assert service.revisions[1]["config"]["scenes"]["default"]["tasks"]["vtr"]["weight"] == 0.3
    assert not page.get_by_role("button", name="Start").is_visible()


def test_of_two_people_the_second_sees_what_the_first_did(open_page: Open) -> None:
    service = Service()
    anna = open_page(ANNA, service)
    paul = open_page(PAUL)
    changed = config()
    changed["scenes"]["default"]["tasks"]["cmr"]["weight"] = 0.1
    service.propose(changed, "less talk")
    anna.bring_to_front()  # the one behind is drawn once a second
    set_weight(anna, "vtr", 0.3)
    show(anna, "History")
    anna.get_by_role("button", name="Activate 2").click()
    anna.get_by_role("dialog").get_by_label("Why").fill("mine")
    service.activate(2, "otto")
    anna.get_by_text("Revision 2 became active meanwhile. Close this").wait_for()
    assert anna.get_by_role("dialog").get_by_role("button", name="Activate 2").is_disabled()
    anna.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    paul.bring_to_front()
    has_value(paul, "cmr weight, as a number", "0.1")  # who edited nothing has what is in force
    assert not paul.get_by_role("button", name="Give them up").is_visible()
    anna.bring_to_front()
    anna.get_by_role("button", name="Put my edits upon 2").click()
    show(anna, "Play")
    has_value(anna, "cmr weight, as a number", "0.1")
    has_value(anna, "vtr weight, as a number", "0.3")


def test_a_service_that_goes_and_comes_back_finds_the_edits(open_page: Open, site: Site) -> None:
    page = open_page(ANNA, Service())
    set_weight(page, "vtr", 0.3)
    page.get_by_text("was 1", exact=True).first.wait_for()
    site.down()
    try:
        page.get_by_text("Your edits are kept").wait_for()
        set_weight(page, "shr", 0.4)
        page.get_by_text("was 0.84").wait_for()
        page.reload()
        page.get_by_text("No answer for").wait_for()
        page.get_by_text("anna: activate").wait_for()
        has_value(page, "vtr weight, as a number", "0.3")
    finally:
        site.up()
    page.get_by_text("No answer for").wait_for(state="hidden")
    has_value(page, "shr weight, as a number", "0.4")
    page.locator("table.items tbody tr").first.wait_for()


def test_only_the_browser_that_signed_in_is_signed_in_and_it_holds_no_token(
    open_page: Open, chromium: Any, console: str
) -> None:
    beside, page = open_page(ANNA, Service()), open_page(ANNA)
    kept = page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
    )
    assert ANNA not in kept
    assert ANNA not in page.content()
    addresses: list[str] = []
    page.on("websocket", lambda socket: addresses.append(socket.url))
    page.reload()
    page.get_by_text("anna: activate").wait_for()
    tab = page.evaluate("sessionStorage.__nicegui_tab_id")
    cookies = {one["name"]: one for one in chromium.cookies(console)}
    assert [(one["httpOnly"], one["sameSite"]) for one in cookies.values()] == [(True, "Strict")]
    other = chromium.browser.new_context()
    try:
        thief = other.new_page()
        kept = {"__nicegui_tab_id": tab, "__nicegui_tab_closed": "true"}
        thief.add_init_script(f"Object.assign(sessionStorage, {kept})")
        thief.goto(console)
        thief.get_by_role("tab", name="Play").wait_for()
        assert thief.evaluate("sessionStorage.__nicegui_tab_id") == tab
        assert thief.get_by_text("read only").is_visible()
        assert [one.evaluate(CONNECT, addresses[-1]) for one in (thief, page)] == ["close", "open"]
    finally:
        other.close()
    page.bring_to_front()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_text("read only").wait_for()
    beside.bring_to_front()
    beside.get_by_text("read only").wait_for()
    beside.reload()
    beside.get_by_text("read only").wait_for()


def test_a_token_that_is_taken_back_signs_out_and_looking_goes_on(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page(PAUL, Service())
    page.locator("table.items").get_by_text("candidate").first.wait_for(state="hidden")
    monkeypatch.delitem(TOKENS, PAUL)
    page.get_by_role("button", name="Newest requests").click()
    page.get_by_text("does not know the token of").wait_for()
    page.get_by_text("read only").wait_for()
    page.locator("table.items").get_by_text("candidate").first.wait_for()


def test_all_parts_suit_everybody_in_both_themes_narrow_and_wide(open_page: Open) -> None:
    from axe_playwright_python.base import AXE_SCRIPT

    service = Service(first=config(tasks=10, scenes=20), requests=20, id_length=120)
    service.propose(config(tasks=10), "A note that goes on and on " * 6)
    name, now_ms = "an_experiment_with_a_name_" * 2, int(time.time() * 1000)
    arms = [{"name": f"arm_{at}", "patch": {"scenes": {f"scene_{at}": None}}} for at in range(4)]
    one = report(name, arms, state="running", since_ms=now_ms, overrides={"u1": "arm_1"}, note="so " * 300)
    service.layers, service.experiments = [LAYER], [one, report("other", first=4000)]
    service.looks = {name: [look(one, hours, 0.02, 0.4 / hours) for hours in (8, 9)]}
    one["look"] = service.looks[name][-1]
    page = open_page(ANNA, service)
    page.evaluate(AXE_SCRIPT)
    page.locator("table.items tbody tr").first.wait_for()
    for part in PARTS:
        show(page, part)
        if part == "Experiments":
            page.locator("svg.looks .band").first.wait_for()
        if part == "History":
            page.get_by_role("button", name="Compare").first.wait_for()
        if part == "State":
            page.get_by_text("4 of 4 ready").wait_for()
        assert serious(page, "light") == [], part
        page.emulate_media(color_scheme="dark")
        page.locator("body.body--dark").wait_for()
        assert serious(page, "dark", "color-contrast") == [], part
        assert fits(page, 400), part
        assert fits(page, 1600), part
        page.emulate_media(color_scheme="light")
        page.locator("body.body--light").wait_for()


def test_where_there_is_nothing_it_says_so(open_page: Open, site: Site) -> None:
    page = open_page(service=Service(control=False))
    page.get_by_text("start the service with --control").first.wait_for()
    show(page, "History")
    page.get_by_text("no revisions are kept here").wait_for()
    show(page, "Experiments")
    page.get_by_text("no revisions are kept here").wait_for()
    site.service = Service(requests=0)
    show(page, "Play")
    page.get_by_text("No requests seen yet").first.wait_for()


def test_a_bundle_is_activated_with_metrics_side_by_side(open_page: Open) -> None:
    service = Service()
    page = open_page(ANNA, service)
    show(page, "State")
    page.get_by_text("4 of 4 ready").wait_for()
    page.get_by_role("button", name="Activate aaaaaaaaaa").click()
    dialog = page.get_by_role("dialog")
    assert "0.71 (+1.43 %)" in dialog.inner_text()
    dialog.get_by_role("button", name="Activate bundle").click()
    dialog.wait_for(state="hidden")
    assert service.bundle == "sha256:" + "a" * 64
