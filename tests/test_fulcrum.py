"""The commands that train, judge and publish: results on stdout, one line on stderr for bad input."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import orjson
import polars as pl
import pytest
import torch

import fulcrum
from tests.support.learned_networks import monotone, write_learned

COMMANDS = [
    (),
    ("schema",),
    ("schema", "check"),
    ("train",),
    ("search",),
    ("evaluate",),
    ("publish",),
    ("serve",),
    ("rank",),
    ("fusion",),
    ("fusion", "validate"),
    ("fusion", "show"),
    ("fusion", "diff"),
    ("calibrate",),
]


@pytest.fixture
def run(called, monkeypatch, tmp_path):
    """Run a command in an empty folder: exit status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    # Help and tables are set in this width.
    monkeypatch.setenv("COLUMNS", "200")
    return called


def refused(answer, *parts):
    code, out, err = answer
    assert code == 1
    assert out == ""
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(run, command):
    code, out, _ = run(*command, "--help")
    assert code == 0
    usage = next(line for line in out.splitlines() if "Usage: " in line)
    assert " ".join(command) in usage


def test_bad_input_of_each_command_is_one_line_and_a_failure(run, trained, tmp_path):
    nowhere = tmp_path / "nowhere"
    refused(run("schema", "check", "dmeo"), "no recipe named 'dmeo'", "demo")
    refused(run("schema", "check", trained.recipe, "--data", nowhere), "no such folder", str(nowhere))
    refused(run("schema", "check", trained.recipe), "as `data`")
    refused(run("train", "--recipe", "demo", "--model", "mmoo", "--out", "b"), "unknown network 'mmoo'")
    refused(run("train", "--recipe", "demo", "--set", "training.epoch=1", "--out", "b"), "training.epoch")
    refused(
        run("search", "--recipe", "demo", "--space", nowhere, "--run", "s"),
        str(nowhere),
        "cannot read the file",
    )
    refused(run("evaluate", nowhere), "is not a bundle")
    refused(run("evaluate", trained.bundle, "--data", nowhere), "no such folder")
    refused(
        run("evaluate", trained.bundle, "--predictions", "p.txt"), "--predictions p.txt", ".parquet or .csv"
    )
    refused(run("publish", nowhere, "--to", "store"), "is not a bundle")
    refused(
        run("publish", trained.bundle, "--data", trained.data, "--to", "redis://127.0.0.1:1"), "127.0.0.1:1"
    )
    refused(run("fusion", "validate", nowhere), str(nowhere))
    refused(run("fusion", "show", nowhere), str(nowhere))
    assert list(tmp_path.iterdir()) == []


def test_what_no_data_can_change_is_refused_before_any_is_read(run, trained, tmp_path):
    """The data folder is not there, which is the first thing that reading it would say."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    (tmp_path / "space.yaml").write_text(
        "{objective: {vtr.auc: 1}, parameters: {training.batch: {low: 16, high: 64}}}"
    )
    (tmp_path / "cmr.yaml").write_text("{schema_version: 1, scenes: {default: {tasks: {cmr: {weight: 1}}}}}")
    (tmp_path / "vtr.yaml").write_text("{schema_version: 1, scenes: {default: {tasks: {vtr: {weight: 1}}}}}")
    data, recipe = ("--data", "nowhere"), ("--recipe", trained.recipe, "--data", "nowhere")
    no_folder = "expected a folder, found"
    refused(run("quantize", trained.bundle, *data), "the network has no product of 32 inputs and outputs")
    evaluate = ("evaluate", trained.bundle, *data)
    refused(run(*evaluate, "--predictions", "file/p.csv"), "--predictions p.csv", no_folder)
    (tmp_path / "p.csv").mkdir()
    refused(run(*evaluate, "--predictions", "p.csv"), "--predictions p.csv: this is a folder; name a file")
    refused(run(*evaluate, "--fusion", "cmr.yaml"), "'cmr'", "vtr, vcr, shr")
    refused(run(*evaluate, "--fusion", "vtr.yaml", "--scene", "home"), "scene 'home'")
    refused(run(*evaluate, "--fusion", "vtr.yaml", "--reward", "vtr +"), "no Polars SQL expression")
    refused(run(*evaluate, "--variant", "int8"), "int8")
    refused(run("publish", trained.bundle, *data, "--to", "file"), "feature store", no_folder)
    refused(run("train", *recipe, "--out", "other"), "holds something else than a bundle")
    refused(run("train", *recipe, "--out", "file/b"), "the bundle file/b is written in", no_folder)
    refused(run("train", *recipe, "--out", "b", "--run", "file/r"), "the run folder file/r", no_folder)
    refused(run("search", *recipe, "--space", "space.yaml", "--run", "file"), "search folder", no_folder)
    refused(run("report", *recipe, "--out", "file"), "report file", no_folder)
    refused(run("report", *recipe, "--out", "r", "--models", "plee"), "unknown network 'plee'")
    if not torch.cuda.is_available():
        cuda = ("--set", "training.device=cuda")
        refused(run("train", *recipe, "--out", "b", *cuda), "cuda")
        refused(run("search", *recipe, "--space", "space.yaml", "--run", "s", *cuda), "cuda")
        refused(run("report", *recipe, "--out", "r", *cuda), "cuda")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cmr.yaml",
        "file",
        "other",
        "p.csv",
        "space.yaml",
        "vtr.yaml",
    ]


def test_a_damaged_bundle_is_refused_by_every_command_that_takes_one(run, trained, tmp_path):
    bundle = shutil.copytree(trained.bundle, tmp_path / "bundle")
    (bundle / "network.onnx").write_bytes(b"half")
    for command in (
        ("evaluate", bundle, "--data", trained.data),
        ("publish", bundle, "--data", trained.data, "--to", "store"),
        ("fusion", "validate", bundle / "fusion.yaml", "--bundle", bundle),
    ):
        refused(run(*command), "network.onnx is damaged")


def test_an_option_that_does_not_exist_is_a_usage_error(run):
    code, out, err = run("evaluate", "bundle", "--colour", "red")
    assert (code, out) == (2, "")
    assert "--colour" in err


@pytest.mark.slow
def test_the_installed_program_fails_without_a_traceback(tmp_path):
    """The real process, once: exit status, an empty stdout and one line."""
    program = Path(fulcrum.__file__)
    done = subprocess.run(
        [sys.executable, program, "fusion", "validate", "absent"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    refused((done.returncode, done.stdout, done.stderr), "absent: fusion config: ")


def test_schema_check_prints_counts_rates_and_warnings(run, trained):
    code, out, _ = run("schema", "check", trained.recipe, "--data", trained.data)
    assert code == 0
    assert "1,200 impressions (960 to train on, 240 to validate), 40 users, 60 items" in out
    log = pl.read_csv(trained.data / "log.csv")
    rate = f"{(log['watched_ms'] > 0).mean():.1%}"
    assert [line for line in out.splitlines() if "shr" in line and rate in line]
    assert "no warnings" in out or "warning: " in out


def test_schema_check_as_json_is_one_object(run, trained):
    code, out, _ = run("schema", "check", trained.recipe, "--data", trained.data, "--json")
    report = orjson.loads(out)
    assert (code, report["rows"], report["train_rows"]) == (0, 1200, 960)
    assert [task["name"] for task in report["tasks"]] == ["vtr", "vcr", "shr"]


def test_schema_check_takes_overrides(run, trained):
    _, out, _ = run(
        "schema",
        "check",
        trained.recipe,
        "--data",
        trained.data,
        "--json",
        "--set",
        "data.keep='time >= 200'",
    )
    assert orjson.loads(out)["rows"] == 1000


def test_evaluate_as_json_keeps_stdout_to_one_object(run, trained):
    code, out, err = run("evaluate", trained.bundle, "--data", trained.data, "--json")
    assert code == 0
    assert {"bundle", "tasks", "groups", "fusion"} <= set(orjson.loads(out))
    assert "240 impressions" in err


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_evaluate_writes_a_row_an_impression(run, trained, tmp_path, kind):
    file = tmp_path / "deep" / f"rows.{kind}"
    code, out, _ = run("evaluate", trained.bundle, "--data", trained.data, "--predictions", file)
    assert code == 0
    assert "vtr" in out
    rows = pl.read_csv(file) if kind == "csv" else pl.read_parquet(file)
    assert rows.height == 240
    wanted = {"user_id", "video_id", "vtr_label", "vtr_mask", "vtr_prediction"}
    assert wanted <= set(rows.columns)


def test_publish_says_how_many_rows_lie_where(run, trained):
    code, out, _ = run("publish", trained.bundle, "--data", trained.data, "--to", "store")
    assert code == 0
    assert "published 41 users and 60 items to store" in out


@pytest.mark.usefixtures("graphs_from_stock")
def test_train_prints_the_bundle_and_its_version(run, trained, tmp_path):
    code, out, err = run(
        "train",
        "--recipe",
        trained.recipe,
        "--data",
        trained.data,
        "--out",
        "bundle",
        "--set",
        "training.epochs=1",
    )
    assert code == 0
    assert out.startswith("bundle bundle sha256:")
    assert "epoch 1" in err
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_search_prints_the_best_trial_as_options(run, trained, tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text(
        "objective: {vtr.auc: 1}\nfixed: {training.epochs: 1}\n"
        "parameters: {training.learning_rate: {low: 0.001, high: 0.1, log: true}}\n"
    )
    words = ("search", "--recipe", trained.recipe, "--data", trained.data, "--space", space, "--run", "s")
    code, out, err = run(*words, "--trials", 2)
    assert code == 0
    assert "--set training.learning_rate=" in out
    assert "trial 1" in err
    code, out, err = run(*words, "--trials", 2, "--json")
    assert {trial["number"] for trial in orjson.loads(out)["trials"]} == {0, 1}
    assert err.strip() == ""


CONFIG = """
schema_version: 1
scenes: {default: {tasks: {vtr: {weight: 1.5}, shr: {weight: 0.25, smoothing: 0.01}}}}
"""


def test_fusion_validate_prints_the_version(run, trained, tmp_path):
    file = tmp_path / "fusion.yaml"
    file.write_text(CONFIG)
    code, out, _ = run("fusion", "validate", file, "--bundle", trained.bundle)
    assert code == 0
    assert out.startswith("valid  sha256:")
    assert "scenes: default" in out
    # The same meaning written as JSON has the same version.
    file.write_text('{"schema_version": 1, "scenes": {"default": {"tasks": {"vtr": {"weight": 1.50}, '
                    '"shr": {"smoothing": 1e-2, "weight": 0.25}}}}}')  # fmt: skip
    assert run("fusion", "validate", file)[1] == out


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("schema_version: 1\nscenes: {default: {tasks: {vtx: {weight: 1}}}}", "vtx"),
        ("schema_version: 2\nscenes: {default: {}}", "2"),
        ("schema_version: 1\nscenes: {default: {formula: weighted_mean}}", "weighted_mean"),
        ("scenes: [", "YAML"),
        ("", "empty"),
    ],
)
def test_a_bad_fusion_config_is_refused_by_every_command_that_takes_one(run, trained, tmp_path, text, part):
    file = tmp_path / "fusion.yaml"
    file.write_text(text)
    for command in (
        ("fusion", "validate", file, "--bundle", trained.bundle),
        ("fusion", "show", file, "--bundle", trained.bundle),
        ("evaluate", trained.bundle, "--data", trained.data, "--fusion", file),
    ):
        code, out, err = run(*command)
        assert (code, out) == (1, "")
        last = err.strip().splitlines()[-1]
        assert last.startswith("error: ")
        assert part in last
        assert "Traceback" not in err


@pytest.mark.slow
def test_fusion_validate_tries_networks_and_names_the_checksum_that_is_right(
    run, trained, tmp_path, monkeypatch
):
    file, network = tmp_path / "fusion.yaml", monotone()
    write_learned(file, network)
    code, out, _ = run("fusion", "validate", file)
    assert code == 0
    assert "network of learned: score.onnx is monotone; 1,000 candidates take " in out
    with monkeypatch.context() as patched:
        patched.setattr("service.commands.fusion.find_spec", lambda name: None)
        code, out, _ = run("fusion", "validate", file)
    assert code == 0
    assert "not tried, as onnxruntime is not installed" in out
    digest = hashlib.sha256(network).hexdigest()
    file.write_text(file.read_text().replace(digest, "f" * 64))
    refused(run("fusion", "validate", file), "scenes.learned: network score.onnx", f"its sha256 is {digest}")
    write_learned(file, monotone(flaw="drop"))
    refused(run("fusion", "validate", file), "scenes.learned: network score.onnx: not monotone: shr raised")


def test_fusion_show_fills_defaults_in_and_lists_the_tasks_left_out(run, trained, tmp_path):
    file = tmp_path / "fusion.yaml"
    file.write_text(CONFIG)
    code, out, _ = run("fusion", "show", file, "--bundle", trained.bundle)
    assert code == 0
    row = {line.split()[0]: line for line in out.splitlines() if len(line.split()) > 2}
    assert "1.5" in row["vtr"]
    assert "log(clip(p, 1e-06, 1))" in row["vtr"]
    assert "+ 0.01" in row["shr"]
    assert "left out of the config" in row["vcr"]
    assert "video_len" in row


def test_the_bundles_own_fusion_config_is_sound(run, trained):
    assert run("fusion", "validate", trained.bundle / "fusion.yaml", "--bundle", trained.bundle)[0] == 0
