import polars as pl
import pytest

from model.client.control import RefusedError, UnreachableError
from model.errors import FulcrumError
from model.experiments import Guardrail, Ramp
from tests.support.experiment_service import HOUR_MS
from tests.support.experiment_site import START_MS, TERMS, Site
from training.experiments.watching.measures import Measures
from training.experiments.watching.reading import ExperimentLog


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def test_an_arm_that_does_harm_is_rolled_back_and_everybody_gets_what_is_active(tmp_path):
    site = Site(tmp_path, {"treated": 0.1})
    site.service.start()
    site.hours(4)
    assert site.done == [("start", None), ("stop", "worse")]
    stopped = site.service.one()
    assert stopped.outcome.arm == "treated"
    assert "guardrail is_share" in stopped.outcome.why
    assert site.service.active == 1
    assert site.service.looks["test"][-1]["guardrails"]["is_share"]["treated"]["alarm"]


def test_a_better_arm_is_activated_once_its_feedback_is_complete(tmp_path):
    site = Site(tmp_path, {"control": 0.2, "treated": 0.8}, on_better="activate")
    site.service.start()
    site.hours(6, users=300)
    assert site.done == [("start", None), ("decide", "better")]
    assert site.service.active == 2
    assert site.service.one().state == "stopped"


def test_a_better_arm_waits_for_people_where_they_asked_for_it(tmp_path):
    site = Site(tmp_path, {"control": 0.2, "treated": 0.8})
    site.service.start()
    site.hours(6, users=300)
    assert site.done == [("start", None), ("pause", "better")]
    assert site.service.active == 1


def test_a_better_arm_that_cannot_be_activated_is_paused_and_why_is_said(tmp_path):
    site = Site(tmp_path, {"control": 0.2, "treated": 0.8}, on_better="activate")
    site.service.start()

    def refuse(call, after):
        if call.path.endswith("/decide"):
            raise RefusedError("422", 422, "its bundle is gone")

    site.service.before = refuse
    site.hours(6, users=300)
    assert site.done == [("start", None), ("pause", "better")]
    assert "its bundle is gone" in site.service.one().outcome.why


def test_arms_that_are_alike_ramp_by_plan_and_end_inconclusive(tmp_path):
    ramps = [Ramp(to=5_000, hours=2, units=20), Ramp(to=10_000, hours=1)]
    terms = TERMS.model_copy(update={"days": 0.2})
    site = Site(tmp_path, seed=1, terms=terms, ramp=2_000, ramps=[one.model_dump() for one in ramps])
    site.service.start()
    site.hours(7)
    assert site.done == [("start", None), ("ramp", 5_000), ("ramp", 10_000), ("pause", "inconclusive")]
    times = [time for time, *_ in site.service.history]
    assert times[1] - times[0] >= 2 * HOUR_MS
    assert times[2] - times[1] >= HOUR_MS
    assert "after the 0.2 days that were planned" in site.service.one().outcome.why


def test_a_verdict_waits_for_feedback_that_is_a_day_late_and_guardrails_do_with_what_came(tmp_path):
    site = Site(tmp_path, {"control": 0.2, "treated": 0.8}, late_ms=24 * HOUR_MS)
    site.service.start()
    site.traffic.serve([f"u{number}" for number in range(900)], START_MS, START_MS + 9 * HOUR_MS)
    site.clock.now_ms += 23 * HOUR_MS
    (found,) = site.hours(1, serve=False)
    assert site.done == [("start", None)]
    assert found.looks["test"]["days"] == 0.0
    assert sum(found.looks["test"]["units"].values()) == 900
    assert "no feedback on the last 24.0 hours" in found.looks["test"]["next"]
    site.clock.now_ms += 7 * HOUR_MS
    site.hours(2, serve=False)
    assert site.done == [("start", None), ("pause", "better")]
    look = site.service.looks["test"][-1]
    assert look["mature_until_ms"] <= look["time_ms"] - 25 * HOUR_MS + 1_000


def test_a_ramp_waits_where_no_events_come(tmp_path):
    site = Site(tmp_path, ramp=2_000, ramps=[{"to": 5_000, "hours": 3}])
    site.service.start()
    site.hours(2)
    rounds = site.hours(5, serve=False)
    assert site.done == [("start", None)]
    assert "no newer exposure of treated" in rounds[-1].looks["test"]["next"]
    site.hours(1)
    assert site.done == [("start", None), ("ramp", 5_000)]


def test_failed_answers_roll_back_an_arm_of_which_nothing_is_logged(site):
    site.service.start()
    site.hours(1)
    line = 'fulcrum_arm_answers_total{{arm="fusion/test:{}",outcome="failed"}} {}\n'
    site.service.metrics = line.format("control", 1) + line.format("treated", 40)
    site.hours(1, serve=False)
    assert site.done == [("start", None), ("stop", "worse")]


def test_answers_are_judged_even_where_events_cannot_be_read(site, tmp_path):
    site.service.start()
    site.controller.look()
    (tmp_path / "events" / "catalogue.json").unlink()
    line = 'fulcrum_arm_answers_total{{arm="fusion/test:{}",outcome="failed"}} {}\n'
    site.service.metrics = line.format("control", 1) + line.format("treated", 40)
    (found,) = site.hours(1, serve=False)
    assert any("events" in one for one in found.problems)
    assert site.done[-1] == ("stop", "worse")


@pytest.mark.parametrize(("unit", "units"), [("user", 30), ("session", 30), ("request", 60)])
def test_units_are_what_the_layer_deals(unit, units, tmp_path):
    site = Site(tmp_path)
    layer = site.service.document.layers[0].model_copy(update={"unit": unit})
    site.service.document = site.service.document.model_copy(update={"layers": (layer,)})
    site.service.start()
    site.traffic.serve([f"u{number % 30}" for number in range(60)], START_MS, START_MS + HOUR_MS)
    site.clock.now_ms += HOUR_MS
    look = site.controller.look().looks["test"]
    assert (sum(look["units"].values()), look["crossed"]) == (units, 0)


def test_an_experiment_whose_time_is_over_ends_when_its_feedback_is_complete(tmp_path):
    site = Site(tmp_path, stop_ms=START_MS + 2 * HOUR_MS)
    site.service.start()
    site.hours(3)
    assert site.done == [("start", None)]
    site.hours(1)
    assert site.done == [("start", None), ("pause", "inconclusive")]
    assert "when its time was over" in site.service.one().outcome.why


def test_testers_count_nowhere(tmp_path):
    testers = {f"t{number}": "treated" for number in range(50)}
    site = Site(tmp_path, overrides=testers)
    site.service.start()
    site.traffic.serve(list(testers), START_MS, START_MS + HOUR_MS)
    site.clock.now_ms += HOUR_MS
    found = site.controller.look()
    assert site.traffic.by_arm == {"fusion/test:treated@override": 50}
    assert found.looks["test"]["units"] == {"control": 0, "treated": 0}


def test_users_in_both_arms_end_the_comparison(tmp_path):
    site = Site(tmp_path)
    site.service.start()
    users = [f"u{number}" for number in range(200)]
    site.traffic.serve(users, START_MS, START_MS + HOUR_MS)
    layer = site.service.document.layers[0].model_copy(update={"salt": "another"})
    site.service.document = site.service.document.model_copy(update={"layers": (layer,)})
    site.traffic.serve(users, START_MS + HOUR_MS, START_MS + 2 * HOUR_MS)
    site.clock.now_ms += 2 * HOUR_MS
    found = site.controller.look()
    assert found.looks["test"]["crossed"] > 50
    assert site.done[-1] == ("pause", "inconclusive")


def test_a_new_start_begins_a_new_comparison(tmp_path):
    site = Site(tmp_path)
    site.service.start()
    site.hours(2)
    one = site.service.one()
    site.service.document = site.service.document.with_(one.changed(state="paused"))
    assert site.hours(1)[0].looks == {}
    site.service.start()
    found = site.hours(1, users=40)[0].looks["test"]
    assert sum(found["units"].values()) <= 40


def test_who_comes_second_looks_again_and_acts_no_more(tmp_path):
    site = Site(tmp_path, {"treated": 0.1})
    site.service.start()
    other = site.watcher("other")

    def other_first(call, after):
        if call.path.endswith("/stop") and not after:
            site.service.before = lambda call, after: None
            other.look()

    site.service.before = other_first
    rounds = site.hours(4)
    assert site.done == [("start", None), ("stop", "worse")]
    assert sum(len(one.actions) for one in rounds) == 0


def test_a_service_that_is_away_is_met_again(site):
    site.service.start()

    def away(call, after):
        raise UnreachableError("no answer")

    site.service.before = away
    with pytest.raises(UnreachableError):
        site.controller.look()
    site.service.before = lambda call, after: None
    assert "test" in site.controller.look().looks


def test_a_look_that_cannot_be_published_does_not_keep_from_acting(tmp_path):
    site = Site(tmp_path, {"treated": 0.1})
    site.service.start()

    def refuse(call, after):
        if call.path.endswith("/look"):
            raise RefusedError("503: full", 503, "full")

    site.service.before = refuse
    rounds = site.hours(4)
    assert site.done[-1] == ("stop", "worse")
    assert any("was not kept" in line for line in rounds[0].problems)


def test_an_experiment_whose_log_cannot_be_read_keeps_no_other_from_its_look(site, tmp_path, monkeypatch):
    replace_half(site)
    site.service.start()
    site.service.start("half")
    read = site.controller._log.seen

    def fail(experiment, *more):
        if experiment.id == "half":
            raise FulcrumError("a file is damaged")
        return read(experiment, *more)

    monkeypatch.setattr(site.controller._log, "seen", fail)
    (found,) = site.hours(1)
    assert set(found.looks) == {"test"}
    assert found.problems == ["experiment half: a file is damaged"]
    assert "judged by answers alone" in found.unseen["half"]


FAILED = 'fulcrum_arm_answers_total{{arm="fusion/test:{}",outcome="failed"}} {}\n'


@pytest.mark.parametrize("text", ["is_bought", "is_click +", "is_click / (is_click - is_click)"])
def test_a_metric_that_is_only_shown_and_cannot_be_evaluated_is_left_out_and_the_rest_judged(text, tmp_path):
    terms = TERMS.model_copy(update={"metrics": {"shown": text, "clicks": "is_click"}})
    site = Site(tmp_path, {"treated": 0.1}, terms=terms)
    site.service.start()
    rounds = site.hours(4)
    assert set(rounds[0].looks["test"]["metrics"]) == {"reward", "clicks", "is_share"}
    assert rounds[0].problems[0].startswith("experiment test: metric 'shown' cannot be evaluated: ")
    unknown = "'is_bought' names 'is_bought', which is no column of the joined log; there is arms, "
    assert (unknown in rounds[0].problems[0]) == (text == "is_bought")
    assert site.done == [("start", None), ("stop", "worse")]
    assert "guardrail is_share" in site.service.one().outcome.why


def test_without_a_reward_guardrails_act_and_nothing_ramps_or_ends(tmp_path):
    terms = TERMS.model_copy(update={"days": 0.1})
    site = Site(tmp_path, terms=terms, ramp=5_000, ramps=[{"to": 10_000, "hours": 1}])
    site.controller = site.watcher(measures=Measures(None, None))
    site.service.start()
    found = site.hours(6)[-1]
    assert site.done == [("start", None)]
    assert set(found.looks["test"]["metrics"]) == {"is_share"}
    assert "metric 'reward' cannot be evaluated: nothing says what it is" in found.problems[0]
    assert "no ramp and no verdict but harm until this is mended" in found.looks["test"]["next"]
    assert found.looks["test"]["verdicts"]["treated"]["verdict"] is None
    site.service.metrics = FAILED.format("control", 1) + FAILED.format("treated", 40)
    site.hours(1)
    assert site.done[-1] == ("stop", "worse")


def test_a_guardrail_that_cannot_be_evaluated_keeps_a_ramp_from_going_on(tmp_path):
    terms = TERMS.model_copy(update={"guardrails": (Guardrail(metric="is_bought"),)})
    site = Site(tmp_path, terms=terms, ramp=5_000, ramps=[{"to": 10_000, "hours": 1}])
    site.service.start()
    found = site.hours(3)[-1]
    assert site.done == [("start", None)]
    assert "no ramp until this is mended: is_bought cannot be evaluated" in found.looks["test"]["next"]


def test_a_metric_that_the_days_before_do_not_have_is_judged_without_them(tmp_path):
    site = Site(tmp_path, terms=TERMS.model_copy(update={"before_days": 1.0}))
    site.hours(3)
    for path in (tmp_path / "work/joined/impressions").glob("day=*/*.parquet"):
        pl.read_parquet(path).drop("is_share").write_parquet(path)
    seen = ExperimentLog(tmp_path / "work/joined", Measures(None, "is_click")).seen(
        site.service.one().changed(since_ms=site.clock.now_ms), "user", site.clock.now_ms
    )
    assert set(seen.without_before) == {"is_share"}
    assert seen.before.columns == ["unit", "before (requests)", "before reward"]


def test_events_that_cannot_be_read_make_no_look(site, tmp_path):
    site.service.start()
    (tmp_path / "events" / "catalogue.json").unlink()
    (found,) = site.hours(1, serve=False)
    assert (found.looks, site.service.looks) == ({}, {})
    assert set(found.unseen) == {"test"}


def test_a_clock_that_was_set_back_publishes_no_look_and_guardrails_act(site):
    site.service.start()
    site.hours(3)
    before = len(site.service.looks["test"])
    site.clock.now_ms -= 2 * HOUR_MS
    found = site.controller.look()
    assert len(site.service.looks["test"]) == before
    assert "no look is published: the clock is 7,200.0 s behind the newest look" in found.problems[0]
    site.service.metrics = FAILED.format("control", 1) + FAILED.format("treated", 40)
    site.controller.look()
    assert site.done[-1] == ("stop", "worse")


def test_what_runs_and_is_not_judged_is_named(site):
    site.service.document = site.service.document.with_(site.service.one().changed(terms=None))
    site.service.start()
    assert site.controller.look().unseen == {"test": "it has no terms"}


def replace_half(site):
    small = site.service.one().changed(size=5_000, ramp=5_000)
    site.service.document = site.service.document.with_(small)
    return site.service.create(id="half", first=5_000, size=5_000, ramp=5_000, terms=TERMS)


def test_a_dry_run_changes_and_publishes_nothing(tmp_path):
    site = Site(tmp_path, {"treated": 0.1})
    site.controller = site.watcher(dry_run=True)
    site.service.start()
    rounds = site.hours(4)
    assert site.done == [("start", None)]
    assert site.service.looks == {}
    assert rounds[-1].actions["test"].what == "stop"


def test_a_new_process_for_each_look_sees_and_does_the_same(tmp_path):
    histories, looks = [], []
    for name in ("loop", "cron"):
        site = Site(tmp_path / name, {"treated": 0.35}, ramp=5_000, ramps=[{"to": 10_000, "hours": 2}])
        site.service.start()
        for _ in range(4):
            if name == "cron":
                site.controller = site.watcher()
            site.hours(1, users=150)
        histories.append(site.service.history)
        looks.append(site.service.looks["test"])
    assert histories[0] == histories[1]
    assert looks[0] == looks[1]


def test_what_users_did_before_takes_noise_out_and_days_that_an_arm_may_have_touched_are_left_out(tmp_path):
    widths = {}
    for days in (0.0, 1.0):
        site = Site(tmp_path / str(days), terms=TERMS.model_copy(update={"before_days": days}))
        users = [f"u{number}" for number in range(600)]
        keen = {user: number % 2 for number, user in enumerate(users)}
        site.did = lambda user, arm, chance, keen=keen: [("v1", {"is_click": 1, "is_share": keen[user]})]
        site.traffic.did = site.did
        for hour in range(2):
            site.traffic.serve(users, START_MS + hour * HOUR_MS, START_MS + (hour + 1) * HOUR_MS)
        site.clock.now_ms += 3 * HOUR_MS  # the window of what was shown last closes before the start
        site.service.start()
        site.traffic.serve(users, site.clock.now_ms, site.clock.now_ms + HOUR_MS)
        site.clock.now_ms += 2 * HOUR_MS
        site.traffic.serve(users[:1], site.clock.now_ms, site.clock.now_ms + HOUR_MS // 2)
        site.clock.now_ms += HOUR_MS
        of = site.controller.look().looks["test"]["metrics"]["reward"]["treated"]
        widths[days] = of["high"] - of["low"]
    assert widths[1.0] < 0.1 * widths[0.0]
