"""The page of an experiment: what it shows, and that nothing steers it."""

from __future__ import annotations

import re

import orjson
import pytest

from tests.support.experiment_reports import START_MS, look, report
from training.experiments.shown import shown
from training.report.page.experiment import FIGURES, PAGE, intervals, render, write_experiment_page


def test_the_page_is_one_file_that_loads_nothing(tmp_path):
    found = report()
    write_experiment_page(found, tmp_path / "more")
    page = (tmp_path / "more" / PAGE).read_text()
    assert not re.search(r"<script|<link|<img|url\(|https?://", page)
    assert "default-src 'none'" in page
    assert orjson.loads((tmp_path / "more" / FIGURES).read_bytes()) == found


def test_what_people_wrote_is_text():
    page = render(report(author="<i>anna</i>", waits="<u>no</u>"))
    assert "shares &lt;b&gt;count&lt;/b&gt; more" in page
    assert not re.search(r"<i>anna|<u>no|<b>count", page)


def test_the_verdict_the_numbers_and_what_happens_next_are_told():
    page = render(report())
    seen = report()["look"]
    for text in (
        seen["verdicts"]["more"]["why"],
        seen["next"],
        "default: shr.weight = 1.5",
        "24,031",
        "5 %",
        "6.0 of 14",
        "is_comment, more",
    ):
        assert text in page, text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"outcome": {"verdict": "worse", "arm": "more", "why": "guardrail", "time_ms": 1, "actor": "w"}},
            "worse",
        ),
        ({"terms": None}, "nobody judges it but people"),
        ({"look": None, "looks": []}, "Nobody has looked since it was started"),
        ({"look": None, "looks": [], "since_ms": None, "state": "draft"}, "Nobody has looked yet"),
        ({"since_ms": START_MS + 30 * 86_400_000}, "Nobody has looked since it was started"),
        ({"waits": "bundle sha256:12 is not here"}, "bundle sha256:12 is not here"),
    ],
)
def test_every_state_has_its_page(changes, says):
    assert says in render(report(**changes))


def test_how_it_ended_is_told_and_nothing_is_next():
    outcome = {"verdict": "better", "arm": "more", "why": "so", "time_ms": START_MS, "actor": "watch"}
    page = render(report(state="stopped", outcome=outcome), "decided for more, by anna")
    assert "Decided for more, by anna" in page
    assert "so; by watch, 2026-09-21" in page
    assert "Next:" not in page


def test_an_alarm_of_the_sample_ratio_stands_above_all_numbers():
    seen = look(3.0)
    seen["sample_ratio"]["alarm"] = True
    page = render(report(look=seen))
    assert page.index("The arms cannot be compared") < page.index("Metrics by arm")


def test_intervals_are_those_of_the_present_comparison():
    found = report(8, since_ms=START_MS + 2 * 86_400_000)
    assert len(shown(found)["looks"]) == 5
    first, second = intervals(found, shown(found)["looks"])
    assert first.title.startswith("reward")  # the primary metric
    assert second.title.startswith("shares")
    band, _, line = first.paths
    assert (band[0], len(band[1].split())) == ("band", 10)
    assert (line[0], len(line[1].split())) == ("new", 5)


def test_looks_without_an_interval_draw_nothing():
    early = look(0.5)
    early["metrics"]["reward"]["more"].update(difference=None, low=None, high=None)
    late = look(1.0)
    late["metrics"]["reward"]["more"].update(low=-1.0, high=None)
    late["metrics"].pop("shares")
    found = report(look=late, looks=[early, late])
    assert list(intervals(found, found["looks"])) == []
    assert "There are no two looks with an interval yet" in render(found)
