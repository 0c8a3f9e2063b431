"""What `fulcrum fusion activate`, `rollback` and `cancel` ask and say; a service's answers are given."""

from __future__ import annotations

from types import SimpleNamespace

import orjson
import pytest

from model.client.control import RefusedError

CONFIG = {"schema_version": 1, "scenes": {"default": {"tasks": {"vtr": {"weight": 1.0}}}}}
SCHEDULE = {
    "revision": 30,
    "at_ms": 1_900_000_000_000,
    "if_active": 29,
    "bundle": None,
    "actor": "ben",
    "why": "a\x1b[2Jcampaign",
}
SCHEDULED = "revision 30 at 2030-03-17 17:46 UTC, by ben, if 29 is active then: a\\u001b[2Jcampaign"


@pytest.fixture
def service(monkeypatch):
    """What a service answers, which a test may change, and the calls that were sent to change it."""
    told = SimpleNamespace(
        listed={"active": 29, "before": 28, "bundle": None, "before_bundle": None, "schedule": None},
        answer={"active": 28, "before": 29, "scheduled": None},
        newest=30,
        refusal=None,
        sent=[],
    )

    def send(self, call):
        if call.body is not None:
            told.sent.append(call)
            if told.refusal:
                raise RefusedError(*told.refusal)
            return told.answer
        number = call.path.rpartition("/")[2]
        if not number.isdecimal():
            return told.listed
        if int(number) > told.newest:
            raise RefusedError("404 there is none", 404, "there is none")
        return {"author": "anna", "note": "", "unfit": None, "evidence": None, "config": CONFIG}

    monkeypatch.setattr("model.client.control.Control.send", send)
    return told


@pytest.fixture
def run(service, called, monkeypatch):
    """Run a command on a terminal where a person says yes: exit status, stdout, stderr, questions."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)

    def call(*words):
        asked = []
        monkeypatch.setattr("typer.confirm", lambda question, err: asked.append(question) or True)
        status, out, err = called("fusion", *words)
        return SimpleNamespace(status=status, out=out, err=err, asked=asked)

    return call


def test_a_change_at_once_names_the_schedule_that_it_drops(run, service):
    service.listed["schedule"] = SCHEDULE
    for words, question in (
        (("activate", 28), "Activate revision 28, drop the scheduled revision 30?"),
        (("rollback",), "Roll back to revision 28, drop the scheduled revision 30?"),
    ):
        done = run(*words, "--why", "x")
        assert done.asked == [question]
        assert f"what is scheduled would be dropped: {SCHEDULED}\n" in done.err
        active = "revision 28 is active; before, it was 29\n"
        assert done.out == f"{active}no longer scheduled: {SCHEDULED}\n"
        service.answer["scheduled"] = SCHEDULE  # of an older service
        assert run(*words, "--why", "x").out == f"{active}still scheduled: {SCHEDULED}\n"
        service.answer["scheduled"] = None


def test_a_schedule_names_the_one_that_it_replaces(run, service):
    service.listed["schedule"] = SCHEDULE
    service.answer = {"active": 29, "before": 29, "scheduled": {**SCHEDULE, "revision": 27, "actor": "anna"}}
    done = run("activate", 27, "--why", "x", "--at", "2030-03-17T18:46:40+01:00")
    assert done.asked == [
        "Activate revision 27 at 2030-03-17 17:46 UTC in place of the scheduled revision 30?"
    ]
    assert f"what is scheduled would be replaced: {SCHEDULED}\n" in done.err
    assert done.out.startswith("scheduled: revision 27 at 2030-03-17 17:46 UTC, by anna")
    assert done.out.endswith("\nrevision 29 stays active until then\n")
    assert service.sent[-1].body["at_ms"] == SCHEDULE["at_ms"]


def test_a_change_at_once_names_the_experiments_that_it_pauses(run, service):
    service.listed["experiments"] = [{"id": "night", "state": "running"}, {"id": "old", "state": "stopped"}]
    service.answer["paused"] = ["night"]
    told = "experiments would be paused, as what they compare with changes: night\n"
    for words in (("activate", 28), ("rollback",)):
        done = run(*words, "--why", "x")
        assert told in done.err
        assert done.out.endswith("\npaused: night; `fulcrum experiment start` goes on\n")
    service.answer["scheduled"] = SCHEDULE
    later = run("activate", 27, "--why", "x", "--at", "2030-03-17T18:46:40+01:00")
    assert told not in later.err


def test_the_audit_names_experiments_and_what_became_of_them(run, service):
    sides = [
        {"before": {"id": "night", "ramp": 100}, "after": {"id": "night", "ramp": 500}},
        {"before": {"id": "night", "state": "running"}, "after": {"id": "night", "state": "stopped"}},
        {"before": None, "after": {"name": "fusion", "unit": "user"}},
        {"before": {"revision": 1}, "after": {"revision": 2}},
    ]
    service.listed = {
        "more": False,
        "events": [
            {"event": at, **dict.fromkeys(("actor", "action", "why"), "x"), "time_ms": 1, **sides_of}
            for at, sides_of in enumerate(sides)
        ],
    }
    out = run("audit").out
    for line in ("night: 100 -> 500", "night: running -> stopped", " fusion ", "1 -> 2"):
        assert line in out


def test_a_cancel_names_what_it_cancels_and_cancels_nothing_else(run, service):
    service.listed["schedule"] = SCHEDULE
    service.answer = {"active": 29, "before": 29, "scheduled": None}
    done = run("cancel", "--why", "off")
    assert done.asked == ["Cancel the activation of revision 30?"]
    assert f"scheduled: {SCHEDULED}\n" in done.err
    assert done.out == "nothing is scheduled; revision 29 stays active\n"
    assert service.sent[-1].body == {"why": "off", "if_scheduled": 30}
    assert run("cancel", "--why", "off", "--yes").asked == []
    service.refusal = ("409 revision 31 is scheduled, not 30", 409, "revision 31 is scheduled, not 30")
    assert "error: 409 revision 31 is scheduled, not 30" in run("cancel", "--why", "off").err
    service.listed["schedule"] = None
    done = run("cancel", "--why", "off")
    assert (done.status, done.asked, "nothing is scheduled" in done.err) == (1, [], True)


@pytest.mark.parametrize(
    ("now", "back", "says"),
    [
        ("sha256:" + "a" * 64, "sha256:" + "b" * 64, ", bundle sha256:aaaaaaaaaaaa -> sha256:bbbbbbbbbbbb"),
        ("sha256:" + "a" * 64, None, ", bundle sha256:aaaaaaaaaaaa -> the newest"),
        ("sha256:" + "a" * 64, "sha256:" + "a" * 64, ""),
        (None, None, ""),
    ],
)
def test_a_rollback_says_which_bundle_goes_back(run, service, now, back, says):
    service.listed |= {"bundle": now, "before_bundle": back}
    done = run("rollback", "--why", "x")
    assert done.asked == [f"Roll back to revision 28{says}?"]
    assert (f"\n  {says.removeprefix(', ')}\n" in done.err) == bool(says)
    del service.listed["before_bundle"]  # of an older service
    older = ", bundle sha256:aaaaaaaaaaaa goes back, too, if it came with revision 29" if now else ""
    assert run("rollback", "--why", "x").asked == [f"Roll back to revision 28{older}?"]


def test_what_is_active_already_is_said_and_nothing_asked(run, service):
    done = run("activate", 29, "--why", "x")
    assert (done.status, done.asked, service.sent) == (1, [], [])
    assert "error: revision 29 is active already" in done.err


@pytest.mark.parametrize("words", [("activate", 28), ("rollback",), ("cancel",)])
@pytest.mark.parametrize("why", ["", " \t"])
def test_a_change_needs_a_reason(run, service, words, why):
    service.listed["schedule"] = SCHEDULE
    done = run(*words, "--why", why)
    assert (done.status, done.asked, service.sent) == (1, [], [])
    assert "--why is empty: say why" in done.err


def test_an_import_that_activates_needs_a_reason(run, service, tmp_path):
    assert "--why is empty: say why" in run("import", tmp_path, "--activate-active", "--why", "").err


def test_a_comparison_is_advised_with_revisions_that_exist(run, service):
    service.refusal = ("409 revision 29 is active", 409, "revision 29 is active")
    done = run("activate", 28, "--why", "x", "--if-active", 27)
    assert "`fulcrum fusion diff 27 29` shows that, --if-active 29 does it all the same" in done.err
    done = run("activate", 28, "--why", "x", "--if-active", 99)
    assert "there is no revision 99, --if-active 29 does it all the same" in done.err
    assert "diff" not in done.err


@pytest.mark.parametrize("at", ["2020-01-01T00:00Z", "2020-01-01", "0001-01-02T00:00+14:00"])
def test_a_time_that_is_past_is_shown_as_typed(run, service, at):
    done = run("activate", 28, "--why", "x", "--at", at)
    assert (done.status, done.asked, service.sent) == (1, [], [])
    assert f"--at {at}: this is not in the future" in " ".join(done.err.split())


def test_json_is_the_services_answer(run, service):
    service.listed["schedule"] = SCHEDULE
    assert orjson.loads(run("rollback", "--why", "x", "--json").out) == service.answer
