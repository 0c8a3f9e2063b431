"""`fulcrum fusion diff`: what is printed and written, and what is refused in one line."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from functools import partial

import orjson
import pytest

from model.fusion import canonical_json, parse_fusion, version
from tests.support.event_log import START_MS, make_log, write_events, write_exposures, write_folder
from tests.support.learned_networks import Graph
from training.events.join import join_events

LOGGED = "scenes: {default: {tasks: {vtr: {weight: 1.0}, vcr: {weight: 0.5}}}}"
OTHER = "scenes: {default: {tasks: {vtr: {weight: 0.2}, vcr: {weight: 1.5}}}}"
SUM = "scenes: {default: {formula: weighted_sum, tasks: {vtr: {price: 1.0}}}}"


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A joined log of 120 exposures, 30 of them with candidates, whose items' names are long and strange."""
    root = tmp_path_factory.mktemp("log")
    logged = parse_fusion(f"schema_version: 1\n{LOGGED}")
    log = make_log(120)
    for number, one in enumerate(log.exposures):
        names = {item: f"<b>{item}</b>" + "x" * 90 for item in one.candidates.ids} if one.candidates else {}
        candidates = one.candidates and dataclasses.replace(one.candidates, ids=list(names.values()))
        log.exposures[number] = dataclasses.replace(
            one,
            items=[names.get(item, item) for item in one.items],
            candidates=candidates,
            fusion_version=version(logged),
        )
    folder = write_folder(root / "events")
    folder.config(version(logged)).write_bytes(canonical_json(logged))
    write_exposures(folder, log.exposures)
    write_events(folder, [])
    join_events(folder.path, root / "out", START_MS + 30 * 86_400_000)
    return root / "out"


@pytest.fixture
def diff(called, monkeypatch, tmp_path):
    """Run the command in a folder with configs: exit status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    for name, text in {"other": OTHER, "sum": SUM}.items():
        (tmp_path / f"{name}.yaml").write_text(f"schema_version: 1\n{text}")

    return partial(called, "fusion", "diff")


def test_the_text_fits_80_columns(diff, out, monkeypatch):
    monkeypatch.setattr("model.terminal.answer._width", 200)
    code, text, err = diff("current", "other.yaml", "--log", out)
    assert code == 0
    assert "Replaying 360 candidates" in err
    assert max(map(len, text.splitlines())) <= 80
    for part in ("another item comes first", "reward", "mean rank", "15 to 30 s", "tab 1", "request 019b"):
        assert part in text
    assert "25.0% of 120 logged requests" in text.replace("\n", " ")
    assert "nan" not in text


def test_without_a_log_the_lines_that_differ_are_printed(diff):
    code, text, err = diff("sum.yaml", "other.yaml")
    assert code == 0
    assert text.splitlines()[0].startswith("default: ")
    assert "default: vtr.weight none -> 0.2\n" in text
    assert "give --url" in err
    assert diff("sum.yaml", "./sum.yaml")[1:] == ("nothing differs\n", "")
    found = orjson.loads(diff("sum.yaml", "other.yaml", "--json")[1])
    assert found["changes"] == text.splitlines()
    assert found["after"] == {
        "name": "other.yaml",
        "version": version(parse_fusion(f"schema_version: 1\n{OTHER}")),
    }
    assert found["preview"] is None


def test_a_service_says_what_would_move_over_its_recent_requests(diff, monkeypatch):
    length = {"from_s": 30.0, "to_s": None, "candidates": 0.5, "before": 0.6, "after": 0.4}
    picture = {
        "requests": 7,
        "candidates": 350,
        "changed_first": 0.714,
        "changed_top": 0.314,
        "kendall_tau": 0.716,
        "rates": {"a_task_with_a_name_of_many_letters": {"before": 0.5531, "after": 0.5914}},
        "exposure": {"video_len": [length, {**length, "from_s": 0.0, "before": 0.0, "after": 0.0}]},
    }
    sent = []

    def send(self, call):
        sent.append(call)
        ranks = {"/v1/fusion": {"version": version(parse_fusion(f"schema_version: 1\n{OTHER}"))}}
        return ranks.get(call.path, picture)

    monkeypatch.setattr("model.client.signed_in.SignedIn.send", send)
    where = ("--url", "http://127.0.0.1:9")
    code, text, _ = diff("other.yaml", "sum.yaml", *where, "--top", 5, "--scene", "feed")
    assert code == 0
    body = sent[-1].body
    assert (body["top"], body["scene"]) == (5, "feed")
    assert version(parse_fusion(orjson.dumps(body["config"]).decode())) == version(
        parse_fusion(f"schema_version: 1\n{SUM}")
    )
    for part in ("over 7 recent requests", "71.4%", "0.716", "0.553   0.591", "30 s and more  60.0%"):
        assert part in text
    assert "0 s and more   0.0%" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert orjson.loads(diff("other.yaml", "sum.yaml", *where, "--json")[1])["preview"] == picture
    picture |= {"requests": 1, "candidates": 1}
    assert "over 1 recent request, 1 candidate:" in diff("other.yaml", "sum.yaml", *where)[1]
    code, text, err = diff("other.yaml", "./other.yaml", *where)
    assert (code, text, err) == (0, "nothing differs\n", "")
    picture["requests"] = 0
    assert "has seen no requests of the scene" in diff("other.yaml", "sum.yaml", *where)[2]
    assert "give `current` as A to see it" in diff("sum.yaml", "other.yaml", *where)[2]


def test_json_holds_all_of_it(diff, out):
    code, text, _ = diff("current", "sum.yaml", "--log", out, "--json", "--examples", 1, "--top", 3)
    found = orjson.loads(text)
    assert code == 0
    assert found["before"]["formulas"] == {"default": "log_power"}
    assert found["top"] == 3
    assert len(found["examples"]) == 1
    assert found["out_of_support"]
    assert {one["kind"] for one in found["support"] if one["outside"]} >= {"formula"}


def test_the_page_stands_alone_and_shows_names_as_they_are(diff, out, tmp_path):
    assert diff("current", "sum.yaml", "--log", out, "--report", "diff.html")[0] == 0
    page = (tmp_path / "diff.html").read_text()
    assert "&lt;b&gt;v" in page
    assert "<b>v" not in page
    assert "Out of support." in page
    assert not re.search(r"https?://|src=|url\(|<script|@import", page)
    assert "prefers-color-scheme: dark" in page
    assert "None" not in page


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--report", "a.html"], "give --log OUT, or --bundle BUNDLE with --data DIR; found neither"),
        (["--reward", "vtr"], "--reward is of a replay: give --log OUT, too"),
        (["--log", "LOG", "--bundle", "b"], "found both"),
        (["--log", "LOG", "--data", "d"], "--data is read with --bundle"),
        (["--log", "empty"], "no candidates/day=*/*.parquet in it"),
        (["--log", "LOG", "--scene", "home"], "--scene home: no request of the log was ranked by it"),
        (["--log", "LOG", "--reward", "shr"], "there is no label 'shr'; there is video_len_s, vtr, vcr"),
        (["--log", "LOG", "--reward", "vtr / 0"], "expected a finite number, found inf in 108 of 108 rows"),
        (["--log", "LOG", "--report", "."], "--report .: this is a folder"),
        (["--log", "LOG", "--report", "none/a.html"], "--report none/a.html: there is no folder"),
        (["--log", "LOG", "--report", "other.yaml/a.html"], "expected a folder, found a file"),
    ],
)
def test_what_cannot_be_done_is_one_line(diff, out, words, error):
    code, text, err = diff("current", "other.yaml", *(out if word == "LOG" else word for word in words))
    assert code == 1
    assert error in err
    assert text == ""
    assert "Traceback" not in err
    assert "--report" not in words or "Replaying" not in err  # before the work


def test_a_page_that_cannot_be_written_in_the_end_costs_no_answer(diff, out):
    words = ("--log", out, "--report", "a" * 249 + ".html")
    code, text, err = diff("current", "other.yaml", *words)
    assert code == 1
    assert "another item comes first" in text
    assert "it cannot be written (File name too long)" in err


def test_requests_that_a_network_failed_for_are_counted(diff, out, tmp_path):
    graph = Graph()
    vtr = graph("Gemm", ["x", graph.constant([[1.0], [0.0]])])
    content = graph.finish(graph("Sqrt", [graph("Sub", [vtr, graph.constant(0.05)])]), columns=2)
    (tmp_path / "a.onnx").write_bytes(content)
    sha = hashlib.sha256(content).hexdigest()
    learned = f"{{formula: model, file: a.onnx, sha256: {sha}, inputs: [vtr, vcr], fallback: default}}"
    (tmp_path / "learned.yaml").write_text(
        f"schema_version: 1\nscenes: {{default: {{tasks: {{vtr: {{weight: 1}}}}}}, feed: {learned}}}"
    )
    words = ("current", "learned.yaml", "--log", out, "--report", "a.html")
    code, text, _ = diff(*words, "--json")
    count = orjson.loads(text)["failed"]["after"]
    assert code == 0
    assert orjson.loads(text)["failed"]["before"] == 0
    assert 0 < count < 30
    assert f"For {count} requests a network of B failed" in (tmp_path / "a.html").read_text()
    said = "requests that a network failed for, ranked by its fallback: A 0, B"
    assert f"{said} {count}\n" in diff(*words)[1]
    assert "network failed" not in diff("current", "sum.yaml", "--log", out)[1]


def test_one_config_against_itself_counts_each_answer_once(diff, out):
    code, text, _ = diff("current", "current", "--log", out)
    assert code == 0
    assert "of 30 answers that A or B gave" in text
    assert "(perhaps predictions were kept as int16, or replay ran on another processor)" in text


def test_a_config_that_does_not_fit_the_log_is_named(diff, out, tmp_path):
    (tmp_path / "bad.yaml").write_text("schema_version: 1\nscenes: {default: {tasks: {shr: {weight: 1}}}}")
    code, _, err = diff("current", "bad.yaml", "--log", out)
    assert code == 1
    assert "bad.yaml: scene default has the task 'shr', which there are no predictions of" in err
    assert diff("current", "none.yaml", "--log", out)[0] == 1


def test_a_network_that_is_not_beside_its_config_is_named(diff, out, tmp_path):
    learned = f"{{formula: model, file: a.onnx, sha256: {'ab' * 32}, inputs: [vtr], fallback: default}}"
    (tmp_path / "learned.yaml").write_text(
        f"schema_version: 1\nscenes: {{default: {{tasks: {{vtr: {{weight: 1}}}}}}, feed: {learned}}}"
    )
    code, _, err = diff("current", "learned.yaml", "--log", out)
    assert code == 1
    assert "scene feed: network a.onnx" in err


def test_groups_of_a_log_are_replayed_with_a_bundles_predictions(diff, trained):
    given = ("--bundle", trained.bundle, "--data", trained.data)
    code, text, err = diff("current", "sum.yaml", *given, "--json")
    found = orjson.loads(text)
    assert code == 0
    assert "all rows of a user are taken for one request" in err
    assert found["before"]["name"] == "current"
    assert found["source"]["kind"] == "data"
    assert found["source"]["group"] == "user_id"
    assert found["source"]["requests"] == found["users"] > 30
    assert found["rates"].keys() == {"vtr", "vcr", "shr"}
    assert found["support"] == []
    code, _, err = diff("current", "sum.yaml", *given, "--scene", "home")
    assert (code, "--scene home: neither config has it; there is default" in err) == (1, True)
