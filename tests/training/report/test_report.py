"""The report end to end, by the command line: trained, kept, resumed, told."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

import fulcrum
from model.errors import FulcrumError
from tests.support.service_process import wait_until

ARGUMENTS = ["--models", "cgc,mmoe", "--tasks", "vtr,vcr", "--seeds", "2"]
ARGUMENTS += ["--compare", "cgc,mmoe", "--jobs", "1"]


def _report(trained, out, *more):
    command = ["report", "--recipe", trained.recipe, "--data", str(trained.data), "--out", str(out)]
    return CliRunner().invoke(fulcrum.app, [*command, *more])


@pytest.fixture(scope="module")
def made(trained, made_once, tmp_path_factory):
    def report(folder):
        result = _report(trained, folder / "r", *ARGUMENTS)
        assert result.exit_code == 0, result.output
        (folder / "printed").write_text(result.output)

    first = made_once("report", report)
    out = shutil.copytree(first / "r", tmp_path_factory.mktemp("report") / "r")  # tests add to it
    return out, (first / "printed").read_text(), orjson.loads((out / "report.json").read_bytes())


def test_the_report_says_what_the_runs_give(made):
    out, printed, found = made
    assert list(found["networks"]) == ["single-task", "cgc", "mmoe"]
    names = {path.stem for path in (out / "runs").glob("*.json")}
    assert names == {f"{m}-seed{s}" for m in ("single-task", "cgc", "mmoe") for s in (3, 4)}
    with np.load(out / "runs" / "cgc-seed3.npz") as file:
        predicted = file["predictions"]
    assert predicted.dtype == np.float32
    assert predicted.shape == (found["data"]["validation_rows"], 2)
    run = orjson.loads((out / "runs" / "cgc-seed3.json").read_bytes())
    assert run["metrics"]["vtr"]["auc"] == found["networks"]["cgc"]["metrics"]["vtr"]["by_seed"]["3"]
    single = orjson.loads((out / "runs" / "single-task-seed3.json").read_bytes())
    assert [curve["tasks"] for curve in single["curves"]] == [["vtr"], ["vcr"]]
    gain = found["networks"]["cgc"]["gains"]["vcr"]
    expected = [
        found["networks"]["single-task"]["metrics"]["vcr"]["by_seed"][seed]
        - found["networks"]["cgc"]["metrics"]["vcr"]["by_seed"][seed]
        for seed in ("3", "4")
    ]
    assert gain["by_seed"] == pytest.approx(expected)
    assert gain["interval"][0] < gain["gain"] < gain["interval"][1]
    assert found["comparisons"][0]["tasks"]["vtr"]["seeds"] == 2
    assert found["networks"]["cgc"]["against_own"] is None  # it is the recipe's own
    assert "cgc" in printed
    assert "6 finished runs of 3 networks with 2 seeds each" in printed
    assert not (out / ".rows").exists()


def test_what_is_not_as_the_recipe_says_is_printed_and_on_the_page(made):
    out, printed, found = made
    page = html.unescape((out / "report.html").read_text())
    assert "Not as the recipe says:" in printed
    assert any("ple with levels: 1, is named cgc here" in sentence for sentence in found["departures"])
    assert any(sentence.startswith("Experts of ") for sentence in found["departures"])
    for sentence in found["departures"]:
        assert f"- {sentence}" in printed
        assert f"<li>{sentence}</li>" in page


def test_gates_and_costs_are_told(made):
    found = made[2]
    used = found["networks"]["mmoe"]["utilisation"]
    assert {gate["reader"] for gate in used["gates"]} == {"vtr", "vcr"}
    for gate in (*used["gates"], *found["networks"]["cgc"]["utilisation"]["gates"]):
        assert sum(gate["mean"]) == pytest.approx(1.0, abs=1e-6)
    assert 0 <= used["differences"][0]["distance"] <= 1
    assert found["networks"]["single-task"]["utilisation"] is None
    for of in found["networks"].values():
        assert of["inference_us"] > 0
        assert of["training_seconds"] > 0
        assert of["budget"]["flops"] > 0


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.figures, self.loaded, self.ids, self.open = [], [], [], []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "figure":
            self.figures.append({"table": False, "caption": False, "image": False})
            self.open.append(tag)
        if self.open:
            figure = self.figures[-1]
            figure["table"] |= tag == "table"
            figure["caption"] |= tag == "figcaption"
            figure["image"] |= given.get("role") == "img" and bool(given.get("aria-label"))
        self.loaded += [given[key] for key in ("src", "href", "xlink:href") if key in given]
        self.ids += [given["id"]] if "id" in given else []

    def handle_endtag(self, tag):
        if tag == "figure":
            self.open.pop()


def test_the_page_needs_nothing_else_and_every_picture_has_its_table(made):
    text = (made[0] / "report.html").read_text()
    page = _Page()
    page.feed(text)
    assert page.figures
    assert all(all(figure.values()) for figure in page.figures)
    assert all(link.startswith("#") for link in page.loaded)
    assert not re.search(r"@import|url\((?!#)|<script|<link", text)
    assert len(page.ids) == len(set(page.ids))
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(page.ids)
    assert {link[1:] for link in page.loaded} <= set(page.ids)
    assert '<html lang="en">' in text
    assert "#010203" not in text


@pytest.mark.long
def test_run_again_nothing_is_trained_twice_and_more_seeds_are_added(made, trained):
    out = made[0]
    before = {path.name: path.stat().st_mtime_ns for path in (out / "runs").iterdir()}
    (out / "runs" / "mmoe-seed4.json").unlink()  # as if killed before it was done
    result = _report(trained, out, *ARGUMENTS)
    assert result.exit_code == 0, result.output
    after = {path.name: path.stat().st_mtime_ns for path in (out / "runs").iterdir()}
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {"mmoe-seed4.json", "mmoe-seed4.npz"}
    again = orjson.loads((out / "report.json").read_bytes())
    for name, of in made[2]["networks"].items():
        assert again["networks"][name]["metrics"] == of["metrics"]
        assert again["networks"][name]["gains"] == of["gains"]


@pytest.mark.long
def test_killed_it_leaves_no_process_and_goes_on_where_it_was(made, trained, tmp_path):
    out = tmp_path / "r"
    command = [sys.executable, "-c", "import fulcrum; fulcrum.main()", "report", "--recipe", trained.recipe]
    command += ["--data", str(trained.data), "--out", str(out), *ARGUMENTS]
    root = Path(fulcrum.__file__).parent
    with subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as report:
        wait_until(lambda: list((out / "runs").glob("*.json")), within_s=120)
        children = Path(f"/proc/{report.pid}/task/{report.pid}/children").read_text().split()
        report.kill()
    assert children
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), within_s=60)
    done = {path.name: path.stat().st_mtime_ns for path in (out / "runs").glob("*.json")}
    assert 0 < len(done) < 6
    result = _report(trained, out, *ARGUMENTS)
    assert result.exit_code == 0, result.output
    assert done == {name: (out / "runs" / name).stat().st_mtime_ns for name in done}
    found = orjson.loads((out / "report.json").read_bytes())
    for name, of in made[2]["networks"].items():
        assert found["networks"][name]["metrics"] == of["metrics"]


def test_a_folder_of_another_report_is_refused(made, trained, tmp_path):
    for more, said in (
        (["--set", "training.epochs=2"], "training.epochs is 3 there and 2 here"),
        (["--match", "none"], "match is 'flops' there and 'none' here"),
        (["--tasks", "vtr"], "tasks"),
    ):
        result = _report(trained, made[0], *ARGUMENTS, *more)
        assert isinstance(result.exception, FulcrumError)
        assert said in str(result.exception)
    (tmp_path / "notes.txt").write_text("mine")
    result = _report(trained, tmp_path, *ARGUMENTS)
    assert "it holds something else" in str(result.exception)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--models", "cgc,nobody"], "unknown network 'nobody'"),
        (["--models", "cgc,"], "--models 'cgc,'"),
        (["--tasks", "nothing"], "unknown task 'nothing'"),
        (["--seeds", "0"], "seeds: expected 1 or more"),
        (["--jobs", "0"], "jobs: expected 1 or more"),
        (["--minutes", "0"], "minutes: expected more than 0"),
        (["--match", "width"], "--match width"),
        (["--models", "cgc", "--compare", "cgc,ple"], "cgc against ple: 'ple' is not part"),
        (["--compare", "cgc"], "--compare cgc: expected two"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_folder(trained, tmp_path, more, said):
    result = _report(trained, tmp_path / "r", *more)
    assert isinstance(result.exception, FulcrumError)
    assert said in str(result.exception)
    assert not (tmp_path / "r").exists()


@pytest.mark.long
def test_what_takes_too_long_or_diverges_is_told_and_stops_nothing(trained, tmp_path):
    out = tmp_path / "r"
    arguments = ["--models", "cgc", "--tasks", "vtr,vcr", "--seeds", "1", "--jobs", "1"]
    arguments += ["--set", "training.learning_rate=1e30"]
    result = _report(trained, out, *arguments, "--minutes", "1e-9")
    assert result.exit_code == 0, result.output
    assert "cgc, seed 3: stopped (over its 1e-09 minutes" in (out / "report.html").read_text()
    # With more time, what was stopped is done again.
    result = _report(trained, out, *arguments)
    assert result.exit_code == 0, result.output
    found = orjson.loads((out / "report.json").read_bytes())
    assert [run["status"] for of in found["networks"].values() for run in of["runs"]] == ["diverged"] * 2
    assert "cgc, seed 3: diverged" in (out / "report.html").read_text()
    assert "not finished: single-task seed 3 (diverged)" in " ".join(found["findings"])


def test_the_reference_shares_nothing(made):
    """A single-task model of a task is what training on that task alone gives."""
    run = orjson.loads((made[0] / "runs" / "single-task-seed3.json").read_bytes())
    assert [training["tasks"] for training in run["settings"]["trainings"]] == [["vtr"], ["vcr"]]
    assert all(training["threads"] == 1 for training in run["settings"]["trainings"])
    assert run["settings"]["trainings"][1]["monitor"]["metric"] == "loss"
