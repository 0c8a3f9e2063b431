"""What a config changes: against plain loops over the same requests; what a log can and cannot say."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest

from model.errors import FulcrumError
from model.fusion import parse_fusion, version
from tests.support.event_log import make_log
from training.tuning.diff import Side, Wanted, diff_of_log
from training.tuning.joined_log import JoinedLog
from training.tuning.replay import Replay
from training.tuning.support import verdicts


def config(text):
    return parse_fusion(f"schema_version: 1\nscenes:\n  default: {text}")


BEFORE = config("{tasks: {vtr: {weight: 1.0}, vcr: {weight: 0.5}}, explore: {share: 0.4, noise: 0.1}}")
AFTER = config(
    "{tasks: {vtr: {weight: 1.0}, vcr: {weight: 0.9}}, video_len: {kind: log, scale_s: 20, weight: 0.2}, "
    "calibration: {vcr: {map: {kind: platt, a: -0.5}}}, explore: {share: 0.4, noise: 0.1}}"
)
WANTED = Wanted("2 * vtr + vcr * video_len_s - 0.1", top=4, examples=2)


@pytest.fixture
def log():
    """200 exposures, answered by `BEFORE`'s order."""
    log = make_log(200, items=5)
    for number, one in enumerate(log.exposures):
        fields = {"fusion_version": version(BEFORE), "user": f"u{number % 40}"}
        log.exposures[number] = dataclasses.replace(one, **fields)
        if one.candidates is not None and number % 3 == 0:
            for p in one.candidates.predictions.values():
                p[:10] = np.nan  # five are left of 15
    return log


def literally(read):
    """The same numbers, one request after the other."""
    rate, items = Counter(), Counter()
    changed, first = [], []
    for batch in read.batches({"vtr", "vcr"}):
        found = [Replay(each, read.tasks).of(batch) for each in (BEFORE, AFTER)]
        for row in range(len(batch)):
            part = range(batch.start[row], batch.start[row + 1])
            tops = [[at for at in of.order if at in part][:4] for of in found]
            for side, top in enumerate(tops):
                for at in top:
                    if not scored(batch, at):
                        continue
                    items[side, batch.item[at]] += 1
                    vtr, vcr = float(batch.predictions["vtr"][at]), found[1].calibrated["vcr"][at]
                    worth = 2 * vtr + vcr * batch.video_len_s[at] - 0.1
                    for name, value in {"vtr": vtr, "vcr": vcr, "reward": worth}.items():
                        if not math.isnan(value):
                            rate[side, name] += value
                            rate[side, name, "items"] += 1
            changed.append(len({*tops[0]} - {*tops[1]}) / 4)
            first.append(tops[0][0] != tops[1][0])
    return rate, items, changed, first


def scored(batch, at):
    return not np.isnan(batch.predictions["vtr"][at])


def test_measures_are_those_of_a_plain_loop(joined, log):
    out = joined(log, BEFORE)
    found = diff_of_log(JoinedLog(out), Side("current", BEFORE), Side("b.yaml", AFTER), WANTED)
    read = JoinedLog(out)
    rate, items, changed, first = literally(read)
    assert found["change"]["first"]["mean"] == pytest.approx(np.mean(first))
    assert found["change"]["share"]["mean"] == pytest.approx(np.mean(changed))
    assert found["change"]["changed"]["mean"] == pytest.approx(np.mean(np.array(changed) > 0))
    for name, of in (*found["rates"].items(), ("reward", found["reward"])):
        before, after = (rate[side, name] / rate[side, name, "items"] for side in (0, 1))
        assert of["before"] == pytest.approx(before)
        assert of["after"] == pytest.approx(after)
        low, high = of["interval"]
        assert low < after - before < high
    assert found["rates"]["vcr"]["calibrated_by"] == "after"
    assert found["rates"]["vtr"]["calibrated_by"] == "neither"
    for mover in found["movers"]:
        number = read.items.names.index(mover["item"])
        assert (mover["top_before"], mover["top_after"]) == (items[0, number], items[1, number])
    for side in ("before", "after"):
        assert sum(one[side] for one in found["lengths"]) == pytest.approx(1.0)
    assert {one["feature"] for one in found["segments"]} == {"scene", "tab"}  # an hour has 24 values
    assert sum(one["requests"] for one in found["segments"] if one["feature"] == "tab") == 50
    assert [len(one["items"]) >= 4 for one in found["examples"]] == [True, True]
    assert found["source"]["requests"] == 50
    assert found["source"]["exposures"] == 200


def test_a_config_against_itself_changes_nothing(joined, log):
    read = JoinedLog(joined(log, BEFORE))
    found = diff_of_log(read, Side("a", BEFORE), Side("b", BEFORE), Wanted())
    assert found["change"]["first"]["mean"] == found["change"]["share"]["mean"] == 0.0
    assert found["change"]["tau_b"]["mean"] == found["change"]["rbo"]["mean"] == pytest.approx(1.0)
    assert found["reward"]["difference"] == 0.0
    assert found["reward"]["interval"] == [0.0, 0.0]
    assert found["reward"]["expression"] == "vtr + vcr"
    assert found["movers"] == found["examples"] == []


def test_answers_that_replay_gives_again_are_counted(joined, log):
    read = JoinedLog(joined(log, BEFORE))
    right = {}
    for batch in read.batches({"vtr"}):
        order = Replay(BEFORE, read.tasks).of(batch).order
        for row, identity in enumerate(batch.ids):
            part = order[batch.start[row] : batch.start[row + 1]][:5]
            right[identity] = [read.items.names[item] for item in batch.item[part]]
    wrong = sorted(right)[0]
    right[wrong] = right[wrong][::-1]
    log.exposures[:] = [
        dataclasses.replace(one, items=right.get(one.exposure_id, one.items)) for one in log.exposures
    ]
    again = JoinedLog(joined(log, BEFORE, name="again"))
    found = diff_of_log(again, Side("a", BEFORE), Side("b", AFTER), Wanted())
    assert found["answers"] == {"answers": 50, "equal": 49}
    assert found["failed"] == {"before": 0, "after": 0}
    alike = diff_of_log(JoinedLog(again.folder), Side("a", BEFORE), Side("b", BEFORE), Wanted())
    assert alike["answers"] == found["answers"]


def test_few_users_have_no_interval(joined, log):
    log.exposures[:] = [
        dataclasses.replace(one, user=f"u{number % 5}") for number, one in enumerate(log.exposures)
    ]
    found = diff_of_log(JoinedLog(joined(log)), Side("a", BEFORE), Side("b", AFTER), Wanted())
    assert found["reward"]["interval"] == found["change"]["first"]["interval"] == [None, None]


def test_a_reward_that_names_what_is_not_predicted_is_refused(joined, log):
    read = JoinedLog(joined(log))
    with pytest.raises(FulcrumError, match="there is no label 'shr'"):
        diff_of_log(read, Side("a", BEFORE), Side("b", AFTER), Wanted("shr"))


@pytest.mark.parametrize("reward", ["vtr / 0", "0 * vtr / 0", "ln(vtr - vtr)"])
def test_a_reward_that_is_no_finite_number_is_refused(joined, log, reward):
    with pytest.raises(FulcrumError, match=r"expected a finite number, found \S+ in (\d+) of \1 rows"):
        diff_of_log(JoinedLog(joined(log)), Side("a", BEFORE), Side("b", AFTER), Wanted(reward))


def test_a_reward_counts_scored_candidates_and_is_unknown_where_lengths_are(joined, log):
    """Of one user's requests alone the lengths are known: most draws have no value."""
    for one in log.exposures:
        if one.candidates is not None and one.user != "u4":
            one.candidates.video_len_s[:] = np.nan
    sides = Side("a", BEFORE), Side("b", AFTER)
    read = JoinedLog(joined(log))
    found = diff_of_log(read, *sides, Wanted("vtr * video_len_s / coalesce(vtr, 0)"))
    assert found["reward"]["before"] > 3
    for one in log.exposures:
        if one.candidates is not None:
            one.candidates.video_len_s[:] = np.nan
    found = diff_of_log(JoinedLog(joined(log, name="unknown")), *sides, Wanted("vtr * video_len_s"))
    assert found["reward"]["before"] is None
    assert found["reward"]["interval"] == [None, None]


def said(after, logged, scenes=("default",), **figures):
    given = {"requests": 50, "exposures": 1000, "never_shown": 0.01, "top": 10, "said": {"tab"}}
    return list(verdicts(after, logged, scenes, **(given | figures)))


def outside(found):
    return {one.kind for one in found if one.outside}


def test_another_formula_than_the_logged_one_is_out_of_support():
    ranks = config("{formula: rank_ensemble, tasks: {vtr: {weight: 1.0}}}")
    assert outside(said(ranks, [BEFORE])) == {"formula"}
    assert outside(said(ranks, [BEFORE, ranks])) == set()


def test_a_shift_is_in_standard_deviations_of_exploring():
    near = config("{tasks: {vtr: {weight: 1.1}, vcr: {weight: 0.5}}}")
    (shift,) = (one for one in said(near, [BEFORE]) if one.kind == "shift")
    assert shift.figures["length"] == pytest.approx(1.0)
    assert shift.figures["effective_share"] == pytest.approx(math.exp(-1.0))
    assert not shift.outside
    assert outside(said(config("{tasks: {vtr: {weight: 1.4}, vcr: {weight: 0.5}}}"), [BEFORE])) == {"shift"}
    # A weight that was 0 was never disturbed.
    assert outside(said(config("{tasks: {vtr: {weight: 1}, shr: {weight: 1}}}"), [BEFORE])) == {"shift"}
    quiet = config("{tasks: {vtr: {weight: 1.0}}}")
    (shift,) = (one for one in said(near, [quiet]) if one.kind == "shift")
    assert "disturbed no weights" in shift.text


SETTINGS = """{tasks: {vtr: {weight: 1.0}, vcr: {weight: 0.5, smoothing: 0.1}},
    video_len: {kind: log, scale_s: 20, weight: 0.2}, calibration: {vtr: {map: {kind: platt, a: 0.1}}},
    segments: [{name: late, when: {hour: {from: 20}}, tasks: {vtr: {weight: 2.0}}}],
    explore: {share: 0.4, noise: 0.1}}"""
PRICED = """{formula: weighted_sum, combine: plus, tasks: {vtr: {price: 2.0, price_per_s: 1.0}},
    video_len: {kind: log, scale_s: 20}, explore: {share: 0.4, noise: 0.1}}"""
RANKED = "{formula: rank_ensemble, tasks: {vtr: {weight: 1.0}}, explore: {share: 0.4, noise: 0.1}}"


@pytest.mark.parametrize(
    ("logged", "old", "new", "keys"),
    [
        (SETTINGS, "{weight: 1.0}", "{weight: 1.0, clip: [0.1, 1.0]}", ["tasks.vtr.clip"]),
        (SETTINGS, "kind: log, scale_s: 20", "kind: log, scale_s: 30", ["video_len.scale_s"]),
        (SETTINGS, "kind: log, scale_s: 20", "kind: lognormal, mode_s: 9, sigma: 1", ["video_len.kind"]),
        (SETTINGS, "a: 0.1", "a: 0.2", ["calibration.vtr"]),
        (SETTINGS, "from: 20", "from: 21", ["segments"]),
        (SETTINGS, "hour: {from: 20}", "hour: 20", ["segments"]),
        (
            SETTINGS,
            "{vtr: {weight: 2.0}}",
            "{vtr: {weight: 2.0, clip: [0.1, 1.0]}}",
            ["segments.late.tasks.vtr.clip"],
        ),
        (PRICED, "combine: plus", "combine: times", ["combine"]),
        (PRICED, "price_per_s: 1.0", "price_per_s: 1.5", ["tasks.vtr.price_per_s"]),
        (PRICED, "price_per_s: 1.0", "price_per_s: 1.0, b: 2.0", ["tasks.vtr.b"]),
        (RANKED, "tasks", "k: 5, tasks", ["k"]),
    ],
)
def test_what_no_exploring_varies_is_out_of_support_where_it_differs(logged, old, new, keys):
    assert logged.count(old) == 1
    after, before = config(logged.replace(old, new)), config(logged)
    found = said(after, [before], said={"hour"})
    assert outside(found) == {"settings"}
    (one,) = (one for one in found if one.kind == "settings")
    assert one.figures == {"scene": "default", "keys": keys}
    assert f"differs in {', '.join(keys)}, which no exploring varies" in one.text
    assert not any("speak for it" in each.text for each in found)
    assert outside(said(after, [before, after], said={"hour"})) == set()


@pytest.mark.parametrize(
    ("logged", "old", "new", "length"),
    [
        (SETTINGS, "{weight: 1.0}", "{weight: 1.1}", 1.0),
        (SETTINGS, "smoothing: 0.1", f"smoothing: {0.1 * math.exp(0.1 * math.log(10)):.15f}", 1.0),
        (SETTINGS, "scale_s: 20, weight: 0.2", "scale_s: 20, weight: 0.22", 1.0),
        (SETTINGS, "name: late", "name: evening", 0.0),
        (SETTINGS, "{vtr: {weight: 2.0}}", "{vtr: {weight: 2.4}}", 2.0),  # of the segment
        (PRICED, "price: 2.0, price_per_s: 1.0", "price: 2.2, price_per_s: 1.1", 1.0),
        (PRICED, "noise: 0.1", "noise: 0.3", 0.0),
    ],
)
def test_what_exploring_varies_is_a_shift_and_no_other_setting(logged, old, new, length):
    assert logged.count(old) == 1
    found = said(config(logged.replace(old, new)), [config(logged)], said={"hour"})
    assert outside(found) == set()
    (one,) = (one for one in found if one.kind == "shift")
    assert one.figures["length"] == pytest.approx(length)
    assert ("segment late" in one.text) == (length == 2.0)


def test_another_network_is_out_of_support_and_another_name_of_its_file_is_not():
    def learned(file, sha):
        scene = f"{{formula: model, file: {file}, sha256: {sha * 64}, inputs: [vtr], fallback: default}}"
        return parse_fusion(f"schema_version: 1\nscenes: {{default: {{tasks: {{}}}}, feed: {scene}}}")

    found = said(learned("b.onnx", "b"), [learned("a.onnx", "a")], ["feed"])
    assert [one.figures for one in found if one.outside] == [{"scene": "feed", "keys": ["sha256"]}]
    assert outside(said(learned("b.onnx", "a"), [learned("a.onnx", "a")], ["feed"])) == set()


def test_items_never_shown_and_conditions_never_logged_are_out_of_support():
    assert outside(said(BEFORE, [BEFORE], never_shown=0.06)) == {"never_shown"}
    segmented = config("{tasks: {vtr: {weight: 1}}, segments: [{name: a, when: {country: NL, tab: '1'}}]}")
    (one,) = (one for one in said(segmented, [BEFORE]) if one.kind == "conditions")
    assert "country, which is not logged" in one.text
    few = said(BEFORE, [BEFORE], requests=5)
    assert any("with so few" in one.text for one in few if one.kind == "candidates")
