"""Replay of a joined log: pieces, scenes, explored weights, networks, what lacks, and what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest

from model.errors import FulcrumError
from model.fusion import FusionError, parse_fusion, score, top_k, version
from service.contract.query import Query
from service.control.fusion.state import ActiveFusion
from service.ranking.fusing import fuse, law_of
from tests.support.event_log import make_log, write_exposures, write_folder
from training.tuning.joined_log import JoinedLog
from training.tuning.replay import Replay

BOTH = {"vtr", "vcr"}


@pytest.fixture
def log():
    """60 exposures over three hours, 15 of them with 12 candidates."""
    log = make_log(60)
    for number, one in enumerate(log.exposures):
        if one.candidates is not None and number % 3 == 0:
            for p in one.candidates.predictions.values():
                p[::4] = np.nan
    return log


def config(text):
    return parse_fusion(f"schema_version: 1\nscenes:\n  default: {text}")


PLAIN = config("{tasks: {vtr: {weight: 1.0}, vcr: {weight: 0.5}}, video_len: {kind: log, scale_s: 30}}")
RANKS = config("{formula: rank_ensemble, tasks: {vtr: {weight: 1.0}, vcr: {weight: 0.5}}}")


@pytest.mark.parametrize("tested", [PLAIN, RANKS], ids=["log_power", "rank_ensemble"])
@pytest.mark.parametrize("rows", [1, 30, 1_000])
def test_each_request_is_ordered_as_it_is_alone_and_unscored_ones_come_last(joined, log, tested, rows):
    read = JoinedLog(joined(log))
    exposures = {one.exposure_id: one for one in log.exposures}
    seen = 0
    for batch in read.batches(BOTH, rows=rows):
        found = Replay(tested, read.tasks).of(batch)
        for row, identity in enumerate(batch.ids):
            logged = exposures[identity].candidates
            inside = np.flatnonzero(~np.isnan(logged.predictions["vtr"]))
            p = {task: p[inside] for task, p in logged.predictions.items()}
            best = inside[top_k(score(tested.scenes["default"], p, logged.video_len_s[inside]).order, 99)]
            places = [*best, *np.setdiff1d(np.arange(12), inside)]
            part = slice(batch.start[row], batch.start[row + 1])
            items = [read.items.names[item] for item in batch.item[found.order[part]]]
            assert items == [logged.ids[at] for at in places]
            shown = batch.shown[batch.shown_start[row] : batch.shown_start[row + 1]]
            assert [read.items.names[item] for item in shown] == list(exposures[identity].items)
            seen += 1
    assert seen == read.counts["requests"] == 15
    assert read.exposures == 60


def test_a_scene_is_read_alone_and_one_that_nothing_was_ranked_by_is_refused(joined, log):
    log.exposures[:] = [
        dataclasses.replace(one, scene="feed" if number % 8 == 0 else "other")
        for number, one in enumerate(log.exposures)
    ]
    out = joined(log)
    found = list(JoinedLog(out, "feed").batches(BOTH))
    assert {scene for batch in found for scene in batch.scene} == {"feed"}
    assert sum(map(len, found)) == 8
    with pytest.raises(FulcrumError, match=r"--scene home: no request of the log .* feed, other"):
        JoinedLog(out, "home")


def test_conditions_see_values_as_they_were_logged(joined, log):
    """In the column `hour` all are texts; 7 and "007" are two values."""
    log.exposures[:] = [
        dataclasses.replace(one, context={"hour": [7, "007", True, 20.5, None][number % 5]})
        for number, one in enumerate(log.exposures)
    ]
    tested = config(
        "{tasks: {vtr: {weight: 1}}, segments: [{name: late, when: {hour: {from: 7}}}, "
        "{name: text, when: {hour: '007'}}, {name: flag, when: {hour: true}}]}"
    )
    read = JoinedLog(joined(log))
    number = {one.exposure_id: number for number, one in enumerate(log.exposures)}
    for batch in read.batches(BOTH):
        expected = [["late", "text", "flag", "late", None][number[identity] % 5] for identity in batch.ids]
        assert Replay(tested, read.tasks).of(batch).segment.tolist() == expected


def test_explored_weights_are_those_of_each_unit_to_the_bit(joined, log):
    tested = config(
        "{tasks: {vtr: {weight: 1.0, smoothing: 0.1}, vcr: {weight: 0.5}}, explore: {share: 0.5, noise: 0.3}}"
    )
    scene = tested.scenes["default"]
    read = JoinedLog(joined(log))
    drawn = 0
    for batch in read.batches(BOTH):
        units = batch.unit_hash.copy()
        units[1::2] = units[:-1:2]  # two requests of one unit
        batch = dataclasses.replace(batch, unit_hash=units)
        found = Replay(tested, read.tasks).of(batch)
        for row, unit in enumerate(units):
            own = scene.explored(int(unit))
            assert found.explored[row] == (own is not None)
            assert found.weights["vtr"][row] == (own or scene).tasks["vtr"].weight
            part = slice(batch.start[row], batch.start[row + 1])
            p = {task: values[part] for task, values in batch.predictions.items()}
            alone = score(own or scene, p, batch.video_len_s[part]).order
            np.testing.assert_array_equal(found.value[part], alone)
        drawn += np.count_nonzero(found.explored)
        stayed = dataclasses.replace(batch, fixed=np.ones(len(batch), bool))
        assert not Replay(tested, read.tasks).of(stayed).explored.any()
    assert 0 < drawn < 15


def test_draws_of_many_units_are_those_of_each_alone():
    explore = config("{tasks: {vtr: {weight: 1}}, explore: {share: 1, noise: 0.2}}").scenes["default"].explore
    units = np.random.default_rng(0).integers(0, 2**64 - 1, 3_000, np.uint64)
    mu = np.array([1.0, 0.5, -0.3, 0.2, -2.0])
    alone = np.concatenate([explore.draw(mu, units[[at]]) for at in range(len(units))])
    np.testing.assert_array_equal(explore.draw(mu, units), alone)


def test_a_learned_formula_is_scored_by_the_network_that_the_caller_gives(joined, log):
    sha = "ab" * 32
    tested = parse_fusion(
        f"schema_version: 1\nscenes:\n  default: {{tasks: {{vtr: {{weight: 1}}}}}}\n"
        f"  feed: {{formula: model, file: a.onnx, sha256: {sha}, inputs: [vcr, vtr], fallback: default}}"
    )
    read = JoinedLog(joined(log))
    replay = Replay(tested, read.tasks, scorers={sha: lambda inputs: inputs[:, 0]})
    for batch in read.batches(BOTH):
        np.testing.assert_array_equal(replay.of(batch).value, batch.predictions["vcr"].astype(np.float64))
    with pytest.raises(FulcrumError, match=r"mine: the network a.onnx of scene feed is not at hand"):
        Replay(tested, read.tasks, "mine")


class Failing:
    """A network that gives no number for a prediction of vcr below .05; expected to take no time."""

    def __call__(self, inputs):
        if (inputs[:, 0] < 0.05).any():
            raise FusionError("the score is nan")
        return inputs[:, 0]

    def expected_s(self, candidates):
        return 0.0 * candidates


def test_a_request_whose_network_fails_is_ranked_by_the_fallback_as_the_service_does(joined, log):
    sha = "ab" * 32
    tested = parse_fusion(
        f"""
schema_version: 1
scenes:
  default: {{tasks: {{vtr: {{weight: 1}}}}}}
  product:
    tasks: {{vtr: {{weight: 1}}, vcr: {{weight: -2}}}}
    explore: {{share: 1, noise: 0.5}}
    calibration: {{vtr: {{map: {{kind: platt, b: 0.5}}}}}}
    segments: [{{name: first, when: {{tab: "1"}}, tasks: {{vtr: {{weight: -1}}}}}}]
  feed: {{formula: model, file: a.onnx, sha256: {sha}, inputs: [vcr, vtr], fallback: product}}
"""
    )
    scorers = {sha: Failing()}
    served = ActiveFusion(tested, version(tested), "a", "now", scorers)
    exposures = {one.exposure_id: one for one in log.exposures}
    read = JoinedLog(joined(log))
    segments, failures = set(), []
    for batch in read.batches(BOTH):
        found = Replay(tested, read.tasks, scorers=scorers).of(batch)
        for row, identity in enumerate(batch.ids):
            one = exposures[identity]
            inside = ~np.isnan(one.candidates.predictions["vtr"])
            p = {task: values[inside] for task, values in one.candidates.predictions.items()}
            query = Query(None, one.user, "feed", 99, None, False, (), one.context, {}, one.candidates.ids)
            law = law_of(query, tested, identity, "salt")
            answer = fuse(query, law, served, p, one.candidates.video_len_s[inside], lambda seconds: True)
            part = slice(batch.start[row], batch.start[row + 1])
            np.testing.assert_array_equal(found.value[part][inside], answer.scores.order)
            assert (found.segment[row], found.explored[row]) == (answer.law.segment, False)
            assert found.failed[row] == (answer.law.name == "product")
            assert found.weights["vtr"][row] == answer.law.scene.weights["vtr"]
            segments.add((bool(found.failed[row]), found.segment[row]))
        failures.append(found.failed)
    assert segments == {(False, None), (True, None), (True, "first")}
    assert 0 < np.concatenate(failures).sum() < 15


def test_requests_of_a_bundle_that_lacks_a_task_are_left_out_and_counted(joined, tmp_path):
    tasks = ("vtr", "vcr", "shr")
    write_exposures(write_folder(tmp_path / "out-events", tasks), make_log(20).exposures)
    read = JoinedLog(joined(make_log(40, 1, tasks=tasks), tasks=tasks))
    assert sum(map(len, read.batches({"shr"}))) == 10
    assert read.counts["lacking"] == 5


def test_the_newest_config_is_that_of_the_newest_exposure(joined, log):
    versions = [version(PLAIN), version(RANKS)]
    log.exposures[:] = [
        dataclasses.replace(one, fusion_version=versions[number >= 40])
        for number, one in enumerate(log.exposures)
    ]
    out = joined(log, PLAIN, RANKS)
    read = JoinedLog(out)
    assert read.versions == {versions[0]: 40, versions[1]: 20}
    assert read.newest() == RANKS
    (out / "configs" / f"{versions[1].removeprefix('sha256:')}.json").unlink()
    with pytest.raises(FulcrumError, match="names this fusion config, and it is not there"):
        read.newest()


def test_what_cannot_be_replayed_is_refused_in_one_line(joined, log, tmp_path):
    with pytest.raises(FulcrumError, match=r"no candidates/day.* expected what `fulcrum events join"):
        JoinedLog(tmp_path)
    with pytest.raises(FulcrumError, match=r"scene default has the task 'shr', .*; there is vtr, vcr"):
        Replay(config("{tasks: {shr: {weight: 1}}}"), ("vtr", "vcr"))
    log.exposures[:] = [dataclasses.replace(one, candidates=None) for one in log.exposures]
    out = joined(log)
    with pytest.raises(
        FulcrumError, match=r"none of 60 exposures holds its candidates; .*CANDIDATES above 0"
    ):
        JoinedLog(out)
    old = next(out.glob("impressions/*/*.parquet"))
    pl.read_parquet(old).drop("context_json").write_parquet(old)
    with pytest.raises(FulcrumError, match=r"joined by an earlier version.*run `fulcrum events join` again"):
        JoinedLog(out)
