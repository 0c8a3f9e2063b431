"""The watched fusion file: good edits are taken, bad ones refused by name while the old one serves."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from model.errors import FulcrumError
from model.fusion import FusionError, explain, parse_fusion, version
from service.control.fusion.file import FusionFile
from service.control.fusion.state import Serving

TASKS = ["vtr", "vcr", "shr", "cmr"]

EDITS = int(os.environ.get("FULCRUM_FUSION_EDITS", "20"))
"""`make faults` sets many more."""
WITHIN_S = 60.0


def text_of(vtr: float) -> str:
    scene = {"tasks": {"vtr": {"weight": vtr}}, "video_len": {"kind": "log", "scale_s": 30.0}}
    return yaml.safe_dump({"schema_version": 1, "scenes": {"default": scene}})


def named(text: str) -> str:
    return version(parse_fusion(text))


def acknowledged(http: httpx.Client, what: Any) -> dict[str, Any]:
    """The report once `what` holds of it."""
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        report = http.get("/v1/fusion").json()
        if what(report):
            return report
        time.sleep(0.02)
    raise AssertionError(f"not acknowledged within {WITHIN_S} s: {report}")


def in_place(file: Path, text: str) -> None:
    file.write_text(text)


def by_rename(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def by_symlink(file: Path, text: str) -> None:
    """As Kubernetes mounts a ConfigMap: the file is a link through a link that is swapped."""
    folder = file.parent / f"..data-{time.monotonic_ns()}"
    folder.mkdir()
    (folder / "fusion.yaml").write_text(text)
    link = file.parent / "..data"
    fresh = file.parent / "..data-fresh"
    fresh.symlink_to(folder, target_is_directory=True)
    fresh.replace(link)
    if not file.is_symlink():
        file.unlink()
        file.symlink_to(link / "fusion.yaml")


@pytest.mark.parametrize("write", [in_place, by_rename, by_symlink])
def test_a_good_edit_serves_without_a_restart(serve, write):
    with serve() as served:
        for vtr in (3.0, 4.0):
            write(served.fusion, text_of(vtr))
            wanted = named(text_of(vtr))
            report = acknowledged(served.http, lambda found, wanted=wanted: found["version"] == wanted)
            assert report["rejected"] is None
            assert report["config"]["scenes"]["default"]["tasks"]["vtr"]["weight"] == vtr
            assert report["left_out"] == {"default": ["vcr", "shr", "cmr"]}
            answer = served.rank(candidate_ids=["v1"], explain=True)
            assert answer["fusion"]["version"] == wanted
            assert answer["items"][0]["terms"]["vtr"]["weight"] == vtr


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"schema_version: 1\nscenes:\n  default:\n    tasks: {vtr: {weight: 1.", "not valid YAML"),
        (b"schema_version: 1\nscenes: {default: {tasks: {likes: {weight: 1}}}}", "unknown task 'likes'"),
        (b"schema_version: 1\nscenes: {default: {tasks: {vtr: {weight: .nan}}}}", "finite"),
        (b"schema_version: 1\nscenes: {feed: {tasks: {}}}", "no scene named default"),
        (b"schema_version: 1\nscenes: {default: {formula: policy, tasks: {}}}", "unknown formula"),
        (b"\xff\xfe", "not UTF-8"),
        (b"#" * (2 << 20), "larger than"),
    ],
)
def test_a_bad_edit_is_refused_by_name_and_the_old_config_serves_on(tmp_path, content, says):
    file = tmp_path / "fusion.yaml"
    file.write_text(text_of(1.0))
    outcomes: list[str] = []
    watched = FusionFile(file, TASKS, outcomes.append)
    file.write_bytes(content)
    watched.poll()
    assert watched.state.rejected is None
    watched.poll()
    rejected = watched.state.rejected
    assert rejected is not None
    assert says in rejected.error
    assert "\n" not in rejected.error
    assert rejected.sha256 == hashlib.sha256(content[: (1 << 17) + 1]).hexdigest()
    assert watched.state.active.version == named(text_of(1.0))
    watched.poll()
    assert outcomes == ["rejected"]


def test_a_vanished_file_is_refused_and_the_same_file_is_good_again(serve):
    with serve() as served:
        before = served.http.get("/v1/fusion").json()
        text = served.fusion.read_text()
        served.fusion.unlink()
        report = acknowledged(served.http, lambda found: found["rejected"])
        assert "there is no such file" in report["rejected"]["error"]
        assert report["rejected"]["sha256"] is None
        assert served.rank(candidate_ids=["v1"])["fusion"]["version"] == before["version"]
        assert "fulcrum_fusion_rejected 1.0" in served.http.get("/metrics").text
        served.fusion.write_text(text)
        assert acknowledged(served.http, lambda found: not found["rejected"])["version"] == before["version"]


def test_a_file_still_being_written_is_not_judged(tmp_path):
    file = tmp_path / "fusion.yaml"
    file.write_text(text_of(1.0))
    watched = FusionFile(file, TASKS)
    whole = text_of(2.0)
    for end in range(0, len(whole), 20):
        file.write_text(whole[:end])
        watched.poll()
    file.write_text(whole)
    watched.poll()
    assert watched.state.active.version == named(text_of(1.0))
    assert watched.state.rejected is None
    watched.poll()
    assert watched.state.active.version == named(whole)


def test_a_rewrite_of_the_same_content_is_no_reload(tmp_path):
    file = tmp_path / "fusion.yaml"
    file.write_text(text_of(1.0))
    outcomes: list[str] = []
    watched = FusionFile(file, TASKS, outcomes.append)
    loaded_at = watched.state.active.loaded_at
    file.write_text(text_of(1.0))
    os.utime(file, (0, 0))
    for _ in range(3):
        watched.poll()
    assert outcomes == []
    assert watched.state.active.loaded_at == loaded_at


def test_a_parser_that_breaks_is_a_refusal_not_the_end_of_watching(tmp_path, monkeypatch):
    file = tmp_path / "fusion.yaml"
    file.write_text(text_of(1.0))
    watched = FusionFile(file, TASKS)
    with monkeypatch.context() as patched:
        patched.setattr("service.control.fusion.file.parse_fusion", lambda *_, **__: 1 / 0)
        file.write_text(text_of(2.0))
        watched.poll()
        watched.poll()
        assert watched.state.rejected is not None
    file.write_text(text_of(3.0))
    watched.poll()
    watched.poll()
    assert watched.state.active.version == named(text_of(3.0))


@pytest.mark.parametrize("content", [None, "scenes: [", text_of(1.0).replace("vtr", "likes")])
def test_a_bad_file_at_the_start_is_an_error(tmp_path, content):
    file = tmp_path / "fusion.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(FulcrumError, match=r"fusion\.yaml: fusion config: "):
        FusionFile(file, TASKS)


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FulcrumError, match="it is not a regular file"):
        FusionFile(tmp_path / "pipe", TASKS)


def test_edits_under_load_a_third_of_them_bad_fail_no_request(serve):
    """Each answer was made by exactly one config: the one that it names."""
    weights = {named(text_of(1.0 + edit / 10)): 1.0 + edit / 10 for edit in range(EDITS)}
    with serve() as served:
        served.fusion.write_text(text_of(1.0))
        acknowledged(served.http, lambda found: found["version"] in weights)
        stop, answers, failures = threading.Event(), [], []

        def load() -> None:
            body = {
                "user_id": "u1",
                "candidate_ids": [f"v{n}" for n in range(40)],
                "explain": True,
                "top_k": 5,
            }
            with httpx.Client(base_url=served.http.base_url, timeout=60) as http:
                while not stop.is_set():
                    answer = http.post("/v1/rank", json=body)
                    (answers if answer.status_code == 200 else failures).append(answer.json())

        callers = [threading.Thread(target=load) for _ in range(2)]
        for caller in callers:
            caller.start()
        try:
            for edit, write in zip(range(1, EDITS), itertools.cycle([in_place, by_rename]), strict=False):
                text = text_of(1.0 + edit / 10)
                if edit % 3 == 0:
                    text = text.replace("vtr", "likes")
                    digest = hashlib.sha256(text.encode()).hexdigest()
                    write(served.fusion, text)
                    acknowledged(
                        served.http, lambda r, d=digest: r["rejected"] and r["rejected"]["sha256"] == d
                    )
                else:
                    version_now = named(text)
                    write(served.fusion, text)
                    report = acknowledged(served.http, lambda r, v=version_now: r["version"] == v)
                    assert report["rejected"] is None
        finally:
            stop.set()
            for caller in callers:
                caller.join()
    assert failures == []
    assert len({answer["fusion"]["version"] for answer in answers}) >= EDITS // 2
    for answer in answers:
        assert_made_by(answer, weights[answer["fusion"]["version"]])


def assert_made_by(answer: dict[str, Any], weight: float) -> None:
    scene, _ = parse_fusion(text_of(weight)).scene("default")
    items = answer["items"]
    p = {task: np.array([item["predictions"][task] for item in items]) for task in TASKS}
    lengths = np.array([item["terms"]["video_len"]["video_len"] or np.nan for item in items], np.float64)
    fused = explain(scene, p, lengths).fused
    assert fused.log_score.tolist() == [item["log_score"] for item in items]
    assert fused.score.tolist() == [item["score"] for item in items]
    assert {item["terms"]["vtr"]["weight"] for item in items} == {weight}


def test_a_condition_on_what_no_request_may_say_is_refused_by_name(tmp_path):
    file = tmp_path / "fusion.yaml"
    segments = "segments: [{name: evening, when: {our: 18}, tasks: {vtr: {weight: 2}}}]"
    file.write_text(f"schema_version: 1\nscenes: {{default: {{tasks: {{vtr: {{weight: 1}}}}, {segments}}}}}")
    with pytest.raises(FusionError, match=r"scenes\.default looks at 'our'; a request may say tab, hour"):
        FusionFile(file, TASKS, features=["tab", "hour"])
    watched = FusionFile(file, TASKS, features=["our"])
    with pytest.raises(FusionError, match="looks at 'our'"):
        watched.fit(Serving(None, TASKS, ["tab", "hour"]))
    assert watched.state.rejected is None
