"""An experiment as people write it, and as the service takes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.errors import FulcrumError
from model.experiments import Experiment
from training.experiments.described import body, canary, described, moment_ms, parts, read_description

ROOT = Path(__file__).parents[3]
ARMS = [{"name": "control", "share": "40%"}, {"name": "more", "share": 6_000, "revision": 3}]


def document(**changes):
    return {"id": "one", "layer": "fusion", "size": "12.5%", "arms": ARMS, **changes}


def terms(**changes):
    return {"primary": "reward", **changes}


def test_percentages_are_of_the_layer_and_shares_of_the_experiment():
    sent = body(described(document(ramps=[{"to": "1%"}, {"to": "12.5%", "hours": 2}]), "f"))
    assert sent["size"] == 1_250
    assert [arm["share"] for arm in sent["arms"]] == [4_000, 6_000]
    assert [step["to"] for step in sent["ramps"]] == [100, 1_250]
    assert sent["ramp"] == 100  # the first step


def test_what_is_sent_is_the_experiment_that_the_service_makes_of_it():
    sent = body(described(document(scenes=["feed"], note="n", start="2026-11-30T06:00+01:00"), "f"))
    assert "first" not in sent  # the service finds free buckets
    made = Experiment(**{"first": 700, **sent})
    assert (made.size, made.ramp, made.scenes, made.note) == (1_250, 1_250, ("feed",), "n")
    assert made.start_ms == 1_796_014_800_000
    assert made.terms is None


def test_a_plan_gives_the_days_and_the_error_that_terms_lack():
    goal = {"difference": 0.01, "deviation": 0.75, "requests": 100_000}
    half = [{"name": "control", "share": "50%"}, {"name": "more", "share": "50%", "revision": 3}]
    sent = body(described(document(size="100%", arms=half, terms=terms(), plan=goal), "f"))
    assert sent["terms"]["days"] == pytest.approx(4.3)  # 424,000 requests: docs/experiments.md
    assert sent["terms"]["planned_error"] == pytest.approx(0.0023, rel=0.01)
    third = body(described(document(size="100%", arms=half, terms=terms(days=3), plan=goal), "f"))
    assert third["terms"]["days"] == 3
    tenth = body(described(document(size="10%", arms=half, terms=terms(), plan=goal), "f"))
    assert tenth["terms"]["days"] == pytest.approx(42.4)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"terms": terms()}, "terms.days: required, but absent; or say plan.deviation and plan.requests"),
        ({"terms": terms(days=3)}, "terms.planned_error: required, but absent; or say plan.difference"),
        ({"plan": {"difference": 0.01}}, "plan: there are no terms that it is of"),
        ({"size": "120%"}, "size '120%': expected a percentage such as 5%, or 1 to 10000 buckets"),
        ({"sise": 3}, "f: sise: unknown key; known keys are .*did you mean size?"),
        ({"start": "tomorrow"}, "start 'tomorrow': expected a time such as 2026-11-30T06:00"),
        ({"arms": [ARMS[0], {**ARMS[1], "share": "50%"}]}, r"shares \(control 4000, more 5000\) sum to 9000"),
        ({"overrides": {"u1": "less"}}, "'u1' gets 'less'; the arms are control, more"),
        (
            {
                "terms": terms(),
                "plan": {
                    "difference": 0.001,
                    "deviation": 0.75,
                    "requests": 1e5,
                    "design_effect": 5.0,
                    "design_days": 14,
                },
            },
            "plan: never: units differ by more than the difference",
        ),
    ],
)
def test_what_is_no_experiment_is_refused_in_a_line(changes, says):
    with pytest.raises(FulcrumError, match=says) as error:
        described(document(**changes), "f")
    assert "\n" not in str(error.value)


def test_the_file_is_named_where_it_cannot_be_read(tmp_path):
    file = tmp_path / "one.yaml"
    with pytest.raises(FulcrumError, match=r"one\.yaml: cannot read the file"):
        read_description(file)
    file.write_text("id: [")
    with pytest.raises(FulcrumError, match=r"one\.yaml: not valid YAML at line 1"):
        read_description(file)
    file.write_text("[]")
    with pytest.raises(FulcrumError, match=r"one\.yaml: expected a mapping"):
        read_description(file)


@pytest.mark.parametrize("name", ["experiment", "canary"])
def test_the_examples_are_experiments(name):
    sent = body(read_description(ROOT / "examples" / f"{name}.yaml"))
    assert Experiment(**{"first": 0, **sent}).terms is not None


def test_a_canary_grows_from_one_per_cent_under_guardrails():
    sent = body(canary("night", "bundles", revision=7, guards=["is_share"], size=3_000))
    assert sent["arms"] == [
        {"name": "control", "share": 5_000},
        {"name": "canary", "share": 5_000, "revision": 7},
    ]
    assert sent["ramp"] == 100
    assert [step["to"] for step in sent["ramps"]] == [100, 500, 2_000, 3_000]
    hours = [step["hours"] for step in sent["ramps"]]
    assert hours == sorted(hours)
    harms = {one["metric"]: one["harm"] for one in sent["terms"]["guardrails"]}
    rises = dict.fromkeys(("failed", "degraded", "slow"), "rises")
    assert harms == {**rises, "reward": "falls", "is_share": "falls"}
    assert sent["on_better"] == "pause"


@pytest.mark.parametrize("size", [1, 100, 101, 500, 2_000, 10_000])
def test_a_canary_of_any_size_ends_with_all_of_it(size):
    sent = body(canary("night", "bundles", revision=7, size=size))
    assert sent["ramps"][-1]["to"] == size
    assert sent["ramp"] <= size


def test_the_file_of_a_canary_says_what_the_option_does():
    file = body(read_description(ROOT / "examples" / "canary.yaml"))
    version = file["arms"][1]["bundle"]
    said = body(canary("new_bundle", "bundles", bundle=version, guards=["is_share"], note=file["note"]))
    assert said == file


def test_a_canary_needs_something_new():
    with pytest.raises(FulcrumError, match="a canary needs what is new: --bundle VERSION, --revision N"):
        canary("night", "bundles")


@pytest.mark.parametrize(("text", "found"), [("5%", 500), ("0.01 %", 1), ("100%", 10_000), ("37", 37)])
def test_parts_are_buckets_or_percentages(text, found):
    assert parts(text, "--size") == found


@pytest.mark.parametrize("text", ["0", "0%", "0.001%", "101%", "10001", "-5", "half", ""])
def test_parts_beyond_a_layer_are_refused(text):
    with pytest.raises(FulcrumError, match=r"--size .*: expected a percentage such as 5%"):
        parts(text, "--size")


def test_a_time_without_a_zone_is_utc():
    assert moment_ms("start", "2026-11-30T05:00") == moment_ms("start", "2026-11-30T06:00+01:00")
