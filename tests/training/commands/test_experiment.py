"""What `fulcrum experiment` asks, sends and says; a service's answers are given."""

from __future__ import annotations

import dataclasses
import sys
from types import SimpleNamespace

import orjson
import pytest
from typer.main import get_command

import fulcrum
from model.client.control import RefusedError, UnreachableError
from tests.support.experiment_reports import START_MS, report

LAYERS = [
    {"name": "fusion", "unit": "user", "holdout": 200, "salt": None, "free": 7_800},
    {"name": "bundles", "unit": "session", "holdout": 0, "salt": None, "free": 10_000},
]
BUNDLES = ["sha256:4bd8" + "0" * 60, "sha256:4bd9" + "0" * 60]


@pytest.fixture(scope="module")
def app():
    """The command line, built once."""
    return get_command(fulcrum.app)


@pytest.fixture
def service(monkeypatch):
    """What a service answers, which a test may change, and the calls that were sent to change it."""
    told = SimpleNamespace(one=report(overrides=None), others=[], events=[], refusal=None, sent=[])

    def send(self, call):
        if call.body is not None:
            told.sent.append(call)
            if told.refusal:
                raise RefusedError(*told.refusal)
            if call.path == "/v1/layers":
                return {"free": 9_800, "salt": "x", **call.body}
            return {**told.one, "edition": told.one["edition"] + 1, "paused": ["other"]}
        match call.path:
            case "/v1/layers":
                return {"layers": LAYERS}
            case "/v1/experiments":
                return {"layers": LAYERS, "experiments": [told.one, *told.others]}
            case "/v1/fusion/revisions":
                return {"active": 17}
            case "/v1/audit":
                if told.events is None:
                    raise RefusedError("403 it lacks the scope read", 403, "it lacks the scope read")
                return {"events": told.events, "more": False}
            case "/v1/models":
                return {"models": [{"version": one} for one in [*BUNDLES, None]]}
        assert call.path == f"/v1/experiments/{told.one['id']}"
        return told.one

    monkeypatch.setattr("model.client.control.Control.send", send)
    return told


@pytest.fixture
def run(service, app, monkeypatch, capsys):
    """Run a command on a terminal where a person says yes: exit status, stdout, stderr, questions."""
    monkeypatch.setattr(fulcrum, "app", app)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)

    def call(*words, says=True):
        asked = []
        monkeypatch.setattr("typer.confirm", lambda question, err: asked.append(question) or says)
        monkeypatch.setattr(sys, "argv", ["fulcrum", "experiment", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            fulcrum.main()
        out, err = capsys.readouterr()
        return SimpleNamespace(status=stopped.value.code or 0, out=out, err=err, asked=asked)

    return call


@pytest.mark.parametrize(
    ("words", "path", "body", "question", "told"),
    [
        (
            ["start"],
            "start",
            {},
            "Start more_shares, for 5 % of fusion?",
            "  more: 2.5 % of all users; default: shr",
        ),
        (
            ["ramp", "20%"],
            "ramp",
            {"ramp": 2_000},
            "Ramp more_shares to 20 % of fusion?",
            "  more: 2.5 % -> 10 % of all users\n  about 8,005 new users a day so far; about 32,021 then",
        ),
        (["pause"], "pause", {}, "Pause more_shares?", "  5 % of all users would get what is active"),
        (["stop"], "stop", {}, "Stop more_shares for good?", "  5 % of all users would get what is active"),
        (
            ["override", "u12", "more"],
            "override",
            {"unit": "u12", "arm": "more"},
            "Change the arm of one unit of more_shares?",
            "  user u12: no override -> more",
        ),
    ],
)
def test_a_change_says_what_it_changes_in_numbers_and_asks(run, service, words, path, body, question, told):
    command, *rest = words
    done = run(command, "more_shares", *rest, "--why", "x")
    assert done.asked == [question]
    assert told in done.err
    (call,) = service.sent
    assert call.path == f"/v1/experiments/more_shares/{path}"
    assert call.body == {"if_edition": 4, "why": "x", **body}  # the edition that was seen
    assert "edition 5" in done.out
    assert run(command, "more_shares", *rest, "--why", "x", "--yes").asked == []


@pytest.mark.parametrize(
    "words", [["start"], ["ramp", "20%"], ["pause"], ["stop"], ["override", "u1"], ["decide", "more"]]
)
def test_who_says_no_changes_nothing(run, service, words):
    command, *rest = words
    done = run(command, "more_shares", *rest, "--why", "x", says=False)
    assert (done.status, service.sent) == (1, [])
    assert "nothing was changed" in done.err


@pytest.mark.parametrize("words", [["start"], ["ramp", "20%"], ["decide", "more"], ["override", "u1"]])
def test_a_change_needs_a_reason(run, service, words):
    command, *rest = words
    done = run(command, "more_shares", *rest, "--why", " ")
    assert (done.status, service.sent) == (1, [])
    assert "--why is empty: say why, for the audit" in done.err


def test_a_change_may_name_the_edition_that_it_expects(run, service):
    run("pause", "more_shares", "--why", "x", "--if-edition", 3)
    assert service.sent[0].body["if_edition"] == 3


def test_who_comes_second_is_told_where_to_look(run, service):
    service.refusal = ("409 edition 5 is the present one, not 4", 409, "edition 5 is the present one, not 4")
    for words in (["pause", "more_shares"], ["decide", "more_shares", "more"]):
        done = run(*words, "--why", "x")
        assert done.status == 1
        assert "not 4; `fulcrum experiment status more_shares` shows how it is now" in " ".join(
            done.err.split()
        )


def test_who_gets_no_answer_is_told_to_look_at_experiments(run, service, monkeypatch):
    def lost(self, call):
        raise UnreachableError(f"{call.path}: no answer")

    monkeypatch.setattr("model.client.control.Control.send", lost)
    done = run("layer", "fusion")
    assert "It may have been done: see `fulcrum experiment list` before" in " ".join(done.err.split())


def test_a_decision_names_what_all_get_and_what_it_pauses(run, service):
    service.others = [report(0, id="other"), report(0, id="still", state="paused")]
    done = run("decide", "more_shares", "more", "--why", "x")
    assert done.asked == ["Stop more_shares and give everybody more?"]
    assert "all requests would get default: shr.weight = 1.5; revision 17 is active now" in done.err
    assert "would be paused, as what they compare with changes: other\n" in done.err
    assert "more was not found better: reward +0.75%" in done.err
    (call,) = service.sent
    assert call.path == "/v1/experiments/more_shares/decide"
    assert call.body == {"if_edition": 4, "if_active": 17, "arm": "more", "why": "x"}
    assert done.out == (
        "more_shares is stopped; revision 17 is active\npaused: other; `fulcrum experiment start` goes on\n"
    )


def test_a_decision_for_the_control_just_stops(run, service):
    service.others = [report(0, id="other")]
    done = run("decide", "more_shares", "control", "--why", "x")
    assert done.asked == ["Stop more_shares?"]
    assert "would be paused" not in done.err


@pytest.mark.parametrize(
    "words", [["decide", "more_shares", "less"], ["override", "more_shares", "u1", "less"]]
)
def test_an_arm_that_is_not_there_is_refused_before_anything_is_sent(run, service, words):
    done = run(*words, "--why", "x")
    assert "experiment more_shares has no arm 'less'; there is control, more" in done.err
    assert service.sent == []


def test_status_shows_verdicts_intervals_guardrails_and_what_is_next_in_80_columns(run):
    out = run("status", "more_shares").out
    for text in (
        "more_shares: running, edition 4, layer fusion, buckets 0 to 1999",
        "shares <b>count</b> more\\u001b[2J",  # what others wrote does not steer the terminal
        "+0.75%      -0.47% to +1.98%",
        "0.31 of 200  quiet",
        "day 6.0 of 14",
        "sample ratio: control 24,000, more 24,031 units",
        "more: none yet; reward +0.75%",
        "next: ramps to 2000 buckets",
    ):
        assert text in out, text
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80
    rows = [line for line in out.splitlines() if " o" in line or "-o" in line]
    assert len(rows) >= 12  # a line a look
    assert out.index("reward  control") < out.index("shares  control")  # the primary metric first


def test_a_picture_of_many_looks_stays_small_and_keeps_the_first_and_the_last():
    from tests.support.experiment_reports import look
    from training.commands.experiment_text import intervals

    looks = [look((at + 1) / 4) for at in range(200)]
    lines = intervals(looks, "reward", "more")
    assert len(lines) == 15
    assert lines[1].startswith("09-21 20:13")
    assert lines[-1].startswith("11-10 14:13")
    assert {len(line.split(" ", 2)[2].rpartition(" ")[0]) for line in lines[1:]} == {41}
    assert intervals([{**looks[0], "metrics": {}}], "reward", "more") == []


def test_status_of_a_draft_says_that_nobody_has_looked(run, service):
    service.one = report(0, state="draft", since_ms=None)
    assert "nobody has looked yet: `fulcrum watch` does" in run("status", "more_shares").out


def test_a_look_before_the_start_is_not_the_present_one(run, service):
    service.one = report(since_ms=report()["look"]["time_ms"] + 1)
    out = run("status", "more_shares").out
    assert "nobody has looked since it was started: `fulcrum watch` does" in out
    assert "looked at" not in out
    assert "against the control" not in out  # no picture of looks before, either
    assert "nobody has looked since it was started" in run("list").out
    assert "was not found better" not in run("decide", "more_shares", "more", "--why", "x").err


@pytest.mark.parametrize("state", ["paused", "stopped"])
def test_nothing_is_next_where_it_does_not_run(run, service, state):
    service.one = report(state=state)
    out = run("status", "more_shares").out
    assert "more: none yet; reward" in out
    assert "next:" not in out


def test_how_it_ended_is_what_the_audit_says_where_it_may_be_read(run, service):
    after = {"id": "more_shares", "arm": "more"}
    service.one = report(state="stopped")
    service.events = [
        {"event": 9, "time_ms": START_MS, "actor": "anna", "action": "experiment_decided", "why": "+1.9 %"}
        | {"after": after}
    ]
    assert "\n  decided for more by anna, 2026-09-21 14:13 UTC: +1.9 %\n" in run("status", "more_shares").out
    assert "decided for more by anna, 2026-09-21" in " ".join(run("list", "--all").out.split())
    service.events = None
    done = run("status", "more_shares")
    assert (done.status, "decided" in done.out) == (0, False)


def test_metrics_that_nobody_knows_yet_are_left_out(run, service):
    for arms in service.one["look"]["metrics"].values():
        for of in arms.values():
            of.update(value=None, difference=None, low=None, high=None)
    service.one["looks"] = [service.one["look"]] * 2
    out = run("status", "more_shares").out
    assert "no metric is known yet: they wait for complete feedback" in out
    assert "95 %, at any look" not in out
    assert "0.31 of 200  quiet" in out  # guardrails on answers are


def test_status_writes_its_page(run, tmp_path):
    assert f"report {tmp_path / 'index.html'}" in run("status", "more_shares", "--report", tmp_path).out
    assert "more_shares" in (tmp_path / "index.html").read_text()


def test_alarms_are_plain_to_see(run, service):
    service.one["look"]["sample_ratio"]["alarm"] = True
    service.one["look"]["guardrails"]["failed"]["more"]["alarm"] = True
    out = run("status", "more_shares").out
    assert "ALARM, arms cannot" in out
    assert "0.31 of 200  ALARM" in out


def test_the_list_leaves_out_what_is_stopped_and_says_so(run, service):
    outcome = {"verdict": "worse", "arm": "more", "why": "x", "time_ms": 1, "actor": "w"}
    service.others = [report(0, id="old", state="stopped", outcome=outcome)]
    out = run("list").out
    assert "layer fusion: deals users, 2 % held out; 78 % free" in out
    assert "more_shares  running  fusion  5 %" in out
    assert "stopped: 1; --all shows them" in out
    assert "worse (more)" in run("list", "--all").out
    assert max(map(len, out.splitlines())) <= 80


def test_json_is_what_the_service_said(run, service):
    assert orjson.loads(run("status", "more_shares", "--json").out) == service.one
    assert orjson.loads(run("list", "--json").out)["layers"] == LAYERS
    assert orjson.loads(run("pause", "more_shares", "--why", "x", "--json").out)["edition"] == 5


def test_a_layer_says_what_it_deals(run, service):
    assert run("layer", "fusion", "--holdout", "2%").out == (
        "layer fusion: deals users, 2 % held out; 98 % free\n"
    )
    assert service.sent[0].body["holdout"] == 200
    assert "--unit team: expected user, session or request" in run("layer", "f", "--unit", "team").err


def test_a_file_becomes_a_draft(run, service, tmp_path):
    file = tmp_path / "one.yaml"
    file.write_text(
        "{id: one, layer: fusion, size: 10%, "
        "arms: [{name: a, share: 50%}, {name: b, share: 50%, revision: 3}]}"
    )
    done = run("create", file, "--layer", "other", "--note", "n")
    (call,) = service.sent
    assert call.path == "/v1/experiments"
    assert (call.body["layer"], call.body["size"], call.body["note"]) == ("other", 1_000, "n")
    assert "start it with: fulcrum experiment start more_shares --why TEXT" in done.out
    assert "go with --canary" in run("create", file, "--revision", 3).err


@pytest.mark.parametrize("text", ["is_click +", "is_click; is_share"])
def test_a_metric_that_is_no_expression_is_refused_before_anything_is_sent(run, service, tmp_path, text):
    file = tmp_path / "one.yaml"
    file.write_text(
        "{id: one, layer: fusion, size: 10%, arms: [{name: a, share: 50%}, {name: b, share: 50%}], "
        f"terms: {{primary: reward, days: 1, planned_error: .1, metrics: {{clicks: '{text}'}}}}}}"
    )
    done = run("create", file)
    assert (done.status, service.sent) == (1, [])
    assert f"terms.metrics.clicks: '{text}': " in " ".join(done.err.split())


def test_a_canary_of_a_bundle_takes_the_beginning_of_its_version(run, service):
    words = ("create", "night", "--canary", "--layer", "bundles", "--guard", "is_share", "--bundle")
    run(*words, "sha256:4bd8")
    (call,) = service.sent
    assert call.body["arms"][1]["bundle"] == BUNDLES[0]
    assert call.body["terms"]["guardrails"][-1]["metric"] == "is_share"
    assert "2 bundles of the service's models folder begin so" in run(*words, "sha256:4b").err
    assert "no bundle of the service's models folder begins so" in run(*words, "sha256:5").err
    assert "--canary needs --layer NAME" in run("create", "night", "--canary", "--revision", 3).err


def test_a_plan_agrees_with_the_documentation(run):
    out = run("plan", "--requests", 100_000, "--deviation", 0.75, "--difference", 0.01, "--json").out
    (found,) = orjson.loads(out)["plans"]
    assert round(found["found_with"], -3) == 424_000
    assert round(found["days"], 1) == 4.2
    table = run("plan", "--requests", 100_000, "--deviation", 0.75, "--size", "20%").out
    assert "+0.01       423,517" in table
    assert "21.2" in table


def test_a_plan_says_never_where_units_are_too_few(run):
    words = ("plan", "--requests", 1e5, "--deviation", 0.75, "--design-effect", 5, "--design-days", 14)
    done = run(*words, "--difference", 0.001)
    assert "never" in done.out.split("units differ")[0]
    assert "look for a larger difference" in done.out
    assert orjson.loads(run(*words, "--difference", 0.001, "--json").out)["plans"][0]["days"] is None


def test_a_plan_by_a_log_of_less_than_a_day_says_so(run, monkeypatch):
    from training.experiments.measuring import Measured
    from training.experiments.planning import DesignEffect

    found = Measured(3_000, 900, 0.125, 24_000.0, 0.4, 0.75, DesignEffect(1.2, 1.0))
    monkeypatch.setattr("training.experiments.measuring.measure_log", lambda *given, **more: found)
    done = run("plan", "--log", "joined", "--metric", "is_share")
    assert "measured: 3,000 requests of 900 units in 3 hours\n24,000 requests a day" in done.out
    assert "the log is under a day: its 24,000 requests a day are those of its hours" in done.err
    monkeypatch.setattr(
        "training.experiments.measuring.measure_log",
        lambda *given, **more: dataclasses.replace(found, days=1.0),
    )
    assert run("plan", "--log", "joined", "--metric", "is_share").err == ""


def test_a_plan_needs_traffic_and_a_deviation(run):
    assert "expected --requests N and --deviation SD, or --log OUT" in run("plan", "--requests", 5).err
    assert "--bundle, --metric and --before-days go with --log" in run("plan", "--bundle", "b").err
