"""`fulcrum fusion propose --log`, and `diff --log` with revisions: what a log says of a revision's config."""

from __future__ import annotations

import dataclasses
import logging
from types import SimpleNamespace

import orjson
import pytest
import structlog

from model.errors import FulcrumError
from model.fusion import canonical_json, parse_fusion, version
from service.commands.revision_text import evidence_lines
from tests.support.event_log import START_MS, make_log, write_events, write_exposures, write_folder
from training.commands.fusion_propose import bounded
from training.events.join import join_events

TOKEN = "a-token"
LOGGED = {
    "schema_version": 1,
    "scenes": {"default": {"tasks": {"vtr": {"weight": 1.0}, "vcr": {"weight": 0.5}}}},
}
MINE = "schema_version: 1\nscenes: {default: {tasks: {vtr: {weight: 0.2}, vcr: {weight: 1.5}}}}"


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A joined log of 60 exposures."""
    root = tmp_path_factory.mktemp("log")
    config = parse_fusion(orjson.dumps(LOGGED).decode())
    log = make_log(60)
    exposures = [dataclasses.replace(one, fusion_version=version(config)) for one in log.exposures]
    folder = write_folder(root / "events")
    folder.config(version(config)).write_bytes(canonical_json(config))
    write_exposures(folder, exposures)
    write_events(folder, [])
    join_events(folder.path, root / "out", START_MS + 30 * 86_400_000)
    return root / "out"


@pytest.fixture
def run(serve, called, monkeypatch, tmp_path):
    """Run a command against a service that ranks as the log's did: exit status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FULCRUM_TOKEN", TOKEN)
    (tmp_path / "mine.yaml").write_text(MINE)
    said = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with serve(LOGGED, control=tmp_path / "control.sqlite", admin_token=TOKEN) as served:
        yield lambda *words: called("fusion", *words, "--url", served.http.base_url)
    structlog.configure(**said)


@pytest.mark.slow
def test_what_a_log_says_is_attached_without_names(run, out, monkeypatch):
    estimate = {"refused": True, "reason": "it never explored", "difference": None, "interval": None}
    asked = SimpleNamespace(sides=None)

    def estimated(bundle, log, sides, observer, scene, open_too):
        if not open_too:
            raise FulcrumError("all windows were open")
        asked.sides = [side.config for side in sides]
        return None, estimate

    monkeypatch.setattr("training.commands.estimate.estimated", estimated)
    monkeypatch.setattr("model.bundle.load_bundle", lambda path: None)
    code, _, err = run("propose", "mine.yaml", "--log", out, "--bundle", "b")
    says = "all windows were open. Nothing was proposed: take open windows as they are with --open, or leave"
    assert (code, says in " ".join(err.split())) == (1, True)
    code, text, err = run("propose", "mine.yaml", "--log", out, "--bundle", "b", "--open", "--json")
    assert code == 0, err
    made = orjson.loads(text)
    assert asked.sides == [parse_fusion(MINE), parse_fusion(orjson.dumps(LOGGED).decode())]
    assert made["evidence"]["estimate"] == estimate
    diff = made["evidence"]["diff"]
    assert (diff["before"]["name"], diff["after"]["name"]) == ("revision 1", "mine.yaml")
    assert {"examples", "movers"}.isdisjoint(diff)
    assert {"change", "rates", "reward", "source"} <= diff.keys()
    code, text, _ = run("show", made["revision"])
    assert '# - "diff: over ' in text
    assert '# - "estimate: the log cannot say: it never explored"' in text
    code, text, err = run("diff", 1, made["revision"], "--log", out, "--json", "--examples", 0)
    assert code == 0, err
    assert orjson.loads(text)["change"] == diff["change"]


def test_without_a_log_there_is_no_estimate(run, tmp_path):
    code, _, err = run("propose", "mine.yaml", "--bundle", "b")
    assert (code, "give --log OUT" in err) == (1, True)
    code, _, err = run("propose", "mine.yaml", "--log", tmp_path)
    assert (code, "no candidates/day=*/*.parquet in it" in err) == (1, True)
    assert "Nothing was proposed: leave out --log to propose without evidence" in " ".join(err.split())
    code, _, err = run("propose", "mine.yaml", "--log", tmp_path, "--open")
    assert (code, "--open is for the estimate" in err) == (1, True)
    assert orjson.loads(run("list", "--json")[1])["revisions"][0]["revision"] == 1


def test_too_much_evidence_loses_its_largest_parts_and_says_which(capsys):
    evidence = {
        "diff": {"small": 1, "large": "x" * 300, "larger": "y" * 400},
        "estimate": {"middle": "z" * 200},
    }
    kept = bounded(evidence, 400)
    assert kept == {
        "diff": {"small": 1},
        "estimate": {"middle": "z" * 200},
        "left_out": ["diff.larger", "diff.large"],
    }
    assert "without diff.larger, diff.large" in capsys.readouterr().err
    assert bounded(evidence, 2_000) == evidence


def test_a_replay_is_said_in_a_line_of_one_request_or_more():
    change = {"first": {"mean": 0.5}, "share": {"mean": 0.25}}
    for requests, says in ((1, "over 1 request another"), (1200, "over 1,200 requests another")):
        found = {"source": {"requests": requests}, "change": change, "reward": {"relative": None}, "top": 10}
        assert says in next(evidence_lines({"diff": found}))
