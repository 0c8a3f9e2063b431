"""Tables, bars and sentences: that they say what the answer says, and take nothing of it for markup."""

from __future__ import annotations

import re
from typing import Any

import pytest

from service.console.play.charts import extent, lengths, stacked
from service.console.play.impact import impact, in_words
from service.console.play.request_table import places_before, request_table
from service.console.play.why import why
from tests.support.control_service import Service, config

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def service() -> Service:
    return Service(requests=12)


@pytest.fixture(scope="module")
def edited() -> dict[str, Any]:
    changed = config()
    changed["scenes"]["default"]["tasks"]["shr"]["weight"] = 2.0
    return changed


def item(candidate: int, rank: int, name: str | None = None, **terms: float) -> dict[str, Any]:
    named = {task: {"p": 0.5, "weight": 1.0, "term": term} for task, term in terms.items()}
    shown = {"id": name, "candidate": candidate, "rank": rank, "score": sum(terms.values())}
    return shown | {"video_len_s": 3.0, "status": "ok", "terms": named}


def test_bars_are_as_long_as_terms_and_the_mark_is_at_their_sum() -> None:
    terms = {"vtr": 2.0, "vcr": 1.0, "shr": -1.0}
    low, high = extent([terms])
    drawn = stacked(terms, low, high, {"vtr": 0, "vcr": 1, "shr": 2})
    bars = [
        tuple(map(float, found))
        for found in re.findall(r'class="s\d" x="([\d.]+)" y="1" width="([\d.]+)"', drawn)
    ]
    assert (low, high) == (-1.0, 3.0)
    assert bars == [(25.0, 50.0), (75.0, 25.0), (0.0, 25.0)]
    mark = re.search(r'class="sum" x="([\d.]+)"', drawn)
    assert mark is not None
    assert float(mark[1]) == pytest.approx(75.0, abs=0.5)  # 2.0 of -1 to 3
    assert "together +2.000" in drawn


def test_a_request_is_shown_in_its_new_order_with_the_places_it_had(
    service: Service, edited: dict[str, Any]
) -> None:
    preview = service.preview({"recent": 12, "config": edited, "pick": 3, "top": 5}, ids=True)
    shown = request_table(preview)
    names = re.findall(r'<th scope="row"><span class="cut" title="([^"]+)"', shown)
    assert names == [one["id"] for one in preview["after"]]
    before = service.preview({"recent": 12, "config": edited, "pick": 3, "top": 40}, ids=True)["before"]
    places = {one["candidate"]: one["rank"] for one in before}
    assert {one: place for one, place in places_before(preview).items() if place != places[one]} == {}
    assert shown.count("<tr>") == 6


def test_names_are_text_whoever_chose_them() -> None:
    one, other = item(1, 1, EVIL, vtr=2.0), item(2, 2, None, vtr=1.0)
    preview = {"requests": 1, "before": [one, other], "after": [one, other], "movers": []}
    for shown in (request_table(preview), why(one, other, "it")):
        assert EVIL not in shown
        assert "&lt;script&gt;" in shown
    assert "candidate 2" in request_table(preview)


def test_the_reason_names_every_term_and_they_sum() -> None:
    one, other = item(1, 1, "a", vtr=2.0, shr=-1.0, cmr=0.2), item(2, 2, "b", vtr=0.5, shr=-0.2, cmr=0.1)
    says = why(one, other, "the edited config")
    assert (
        "<bdi>a</bdi> is above <bdi>b</bdi> by 0.8: vtr +1.500, cmr +0.100 outweigh shr \N{MINUS SIGN}0.800"
        in says
    )
    assert "is below" in why(other, one, "the edited config")
    assert "nothing speaks against it" in why(item(1, 1, "a", vtr=1.0), item(2, 2, "b", vtr=0.5), "it")


def test_ties_and_items_without_a_score_have_reasons_too() -> None:
    assert "the first given stays first" in why(item(1, 1, "a", vtr=1.0), item(2, 2, "b", vtr=1.0), "it")
    unscored = item(3, 9, "c") | {"terms": None}
    assert "c has no score" in why(item(1, 1, "a", vtr=1.0), unscored, "it")


def test_what_would_change_is_said_with_the_answers_numbers(service: Service, edited: dict[str, Any]) -> None:
    preview = service.preview({"recent": 12, "config": edited, "top": 10}, ids=False)
    says, shown = in_words(preview, 10), impact(preview, 10)
    share = f"{100 * preview['changed_first']:.1f} %"
    assert f"another item comes first in {share}" in says
    assert share in shown
    for part in (preview["rates"], ["0 to 7 s", "120 s and more", "unknown", "default_features"]):
        assert all(name in shown for name in part)


def test_of_no_requests_it_says_so() -> None:
    nothing = Service(requests=0).preview({"recent": 300, "config": config()}, ids=False)
    assert "No requests seen yet" in impact(nothing, 10)
    assert "Nobody has asked" in in_words(nothing, 10)


def test_the_curve_of_a_length_is_drawn_and_one_on_the_way_is_left_out() -> None:
    bins = [{"from_s": 0.0, "to_s": 10.0, "candidates": 3}, {"from_s": 10.0, "to_s": None, "candidates": 1}]
    log = {"kind": "log", "scale_s": 30.0}
    assert lengths(bins, {"kind": "none"}, log).count("<polyline") == 2
    assert (
        lengths(bins, log, {"kind": "piecewise", "points": [[3.0, 1.0], [2.0, 1.0]]}).count("<polyline") == 1
    )
    assert lengths([], log, log).count("<polyline") == 2
    assert "75.0 % of candidates" in lengths(bins, log, log)


def test_small_terms_have_as_many_digits_as_show_what_tells_items_apart() -> None:
    one, other = (
        item(at, at + 1, name, vtr=1 / (60 + at), shr=1 / (61 + at)) for at, name in enumerate("ab")
    )
    assert "+0.000273" in why(one, other, "the edited config")  # 1 / 60 - 1 / 61
    sums = re.findall(r'<td class="num">(0\.\d+)</td><td class="wide"', request_table(asked([one, other])))
    assert len(set(sums)) == 2


def asked(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"requests": 1, "after": items, "before": items}


def test_a_name_turns_no_other_words_around() -> None:
    said = why(item(1, 1, "\u202eabc", vtr=1.0), item(2, 2, "d", vtr=0.5), "the edited config")
    assert said.count("<bdi>\u202eabc</bdi>") == 2
    assert said.count("\u202e") == 2


@pytest.mark.parametrize(
    ("log_score", "term", "says"),
    [
        (-4.3, -4.3, "log(p 0.00645 + smoothing) \N{MULTIPLICATION SIGN} 2"),
        (None, 0.0129, "p 0.00645 \N{MULTIPLICATION SIGN} 2"),
        (None, 0.03, "p 0.00645, weight 2"),  # of a rank
    ],
)
def test_a_term_is_named_as_its_formula_makes_it(log_score: float | None, term: float, says: str) -> None:
    terms = {"vtr": {"p": 0.00645, "weight": 2.0, "term": term}}
    one, other = (
        item(at, at, name) | {"terms": terms, "log_score": log_score} for at, name in ((1, "a"), (2, "b"))
    )
    assert f">{says}<" in why(one, other, "it")
