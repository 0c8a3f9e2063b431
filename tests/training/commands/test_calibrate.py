"""`fulcrum calibrate`: what it prints and writes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from model.errors import FulcrumError
from model.fusion import LearnedFormula, load_fusion, parse_fusion
from tests.conftest import Trained
from tests.support.learned_networks import write_learned
from tests.training.tuning.test_calibrating import SHR, VCR, log
from training.commands.calibrate import MapKind, calibrate
from training.commands.calibration_tables import tables
from training.tuning.calibrating import fill, find_maps
from training.tuning.config_file import write_config


def printed(parts: Any) -> str:
    console = Console(file=io.StringIO(), width=80)
    for part in parts:
        console.print(part, highlight=False)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_tables_are_for_80_columns() -> None:
    found = find_maps(log(3_000, a=-0.8), [SHR, VCR], "auto", "video_len")
    lines = [" ".join(line.split()) for line in printed(tables(found)).splitlines()]
    assert any(line.startswith("shr all rows ") and "platt -0." in line for line in lines)
    assert any(line.startswith("vcr 7 to 15 s ") and "nothing better" in line for line in lines)
    detail = printed(tables(found, detail=True))
    assert "shr, all rows, with the map" in detail
    assert "vcr, below 7 s, without a map" in detail
    assert max(map(len, detail.splitlines())) <= 80


def test_the_config_is_written_as_it_is_and_read_by_people(tmp_path: Path) -> None:
    found = find_maps(log(3_000, a=-0.8), [SHR], "isotonic", "tab")
    text = "schema_version: 1\nscenes: {default: {tasks: {shr: {weight: 1, smoothing: 1.0e-7}}}}"
    config, _ = fill(parse_fusion(text), found)
    write_config(config, tmp_path / "new" / "fusion.yaml", "made by a test", tmp_path / "fusion.yaml")
    assert load_fusion(tmp_path / "new" / "fusion.yaml") == config
    assert (tmp_path / "new" / "fusion.yaml").read_text().startswith("# made by a test\nschema_version: 1\n")


def test_a_written_config_has_its_networks_beside_it(tmp_path: Path) -> None:
    write_learned(tmp_path / "fusion.yaml", b"a network")
    config = load_fusion(tmp_path / "fusion.yaml")
    write_config(config, tmp_path / "new" / "fusion.yaml", "made by a test", tmp_path / "fusion.yaml")
    assert (tmp_path / "new" / "score.onnx").read_bytes() == b"a network"
    (tmp_path / "score.onnx").write_bytes(b"another")
    with pytest.raises(FulcrumError, match="its sha256 is"):
        write_config(config, tmp_path / "other" / "fusion.yaml", "made by a test", tmp_path / "fusion.yaml")


def test_a_network_that_is_no_file_yet_is_written_beside_the_config(tmp_path: Path) -> None:
    write_learned(tmp_path / "fusion.yaml", b"a network")
    config = load_fusion(tmp_path / "fusion.yaml")
    (tmp_path / "score.onnx").unlink()
    (digest,) = (one.sha256 for one in config.scenes.values() if isinstance(one, LearnedFormula))
    networks = {digest: b"a network"}
    write_config(config, tmp_path / "new" / "fusion.yaml", "by a test", tmp_path / "none", networks)
    assert (tmp_path / "new" / "score.onnx").read_bytes() == b"a network"


@pytest.fixture
def options(trained: Trained, tmp_path: Path) -> dict[str, Any]:
    """Of a small bundle: what the command line gives."""
    return {
        "bundle": trained.bundle,
        "out": tmp_path / "fusion.yaml",
        "log": None,
        "data": trained.data,
        "by": "tab",
        "kind": MapKind.auto,
        "tasks": None,
        "fusion": None,
        "scene": None,
        "open_too": False,
        "report": tmp_path / "report",
        "detail": False,
        "json": True,
    }


def test_a_bundle_is_calibrated_on_its_validation_split(
    options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calibrate(**options)
    report = json.loads(capsys.readouterr().out)
    assert report["rows"] == 240
    assert set(report["tasks"]) == {"vtr", "vcr", "shr"}
    assert [one["when"] for one in report["tasks"]["vtr"]["segments"]] == [{"tab": 0}, {"tab": 1}]
    assert (
        (report["verdict"] == "better") == (tmp_path / "fusion.yaml").exists() == (report["out"] is not None)
    )
    assert (tmp_path / "report" / "reliability.svg").read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"by": "age"}, "--by age: no context feature of the bundle; expected video_len, or one of: tab"),
        ({"tasks": "vtr,shar"}, "--tasks: unknown task 'shar'; the bundle has vtr, vcr, shr"),
        ({"tasks": ""}, "--tasks: unknown task ''; the bundle has vtr, vcr, shr"),
        ({"scene": "feed"}, r"--scene feed: .*fusion\.yaml has the scenes default"),
        ({"log": Path("x")}, "--log and --data: give one of them"),
        ({"data": None, "log": Path("/nowhere")}, "data folder /nowhere: no such folder; .*events join"),
        ({"fusion": Path("/nowhere.yaml")}, "cannot read the file"),
        ({"out": Path("/")}, "--out /: this is a folder; name a file"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    options: dict[str, Any], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        calibrate(**{**options, **given})
    assert len(str(refusal.value).splitlines()) == 1
