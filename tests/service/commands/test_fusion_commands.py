"""The commands of `fulcrum fusion` that need a service, against a real one."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import orjson
import pytest
import structlog
import yaml

from model.fusion import load_fusion, version

TOKEN = "a-token"
CONFIG = "schema_version: 1\nscenes: {default: {tasks: {vtr: {weight: %s}, shr: {weight: 0.3}}}}"


@pytest.fixture(scope="module")
def site(serve, tmp_path_factory):
    """A service with revisions."""
    store = tmp_path_factory.mktemp("control") / "control.sqlite"
    said = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with serve(control=store, admin_token=TOKEN) as served:  # logs to stdout, where commands answer
        yield served
    structlog.configure(**said)


@pytest.fixture
def run(site, called, monkeypatch, tmp_path):
    """Run a command in an empty folder, as admin: exit status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FULCRUM_TOKEN", TOKEN)

    def call(name, *words, url=None):
        status, out, err = called("fusion", name, *words, "--url", url or site.http.base_url)
        return SimpleNamespace(status=status, out=out, err=err)

    return call


@pytest.fixture
def propose(run, tmp_path):
    """Propose a config with this weight: the revision's number."""

    def call(weight, *words):
        (tmp_path / "mine.yaml").write_text(CONFIG % weight)
        done = run("propose", "mine.yaml", "--json", *words)
        assert done.status == 0, done.err
        return orjson.loads(done.out)["revision"]

    return call


def active(site):
    return site.http.get("/v1/fusion/revisions").json()["active"]


def test_a_weight_is_proposed_looked_at_activated_and_rolled_back(run, site, propose, tmp_path):
    before = active(site)
    number = propose(0.71, "--note", "more\n[red]views[/red] \x1b[2J")
    assert active(site) == before
    shown = run("show", number)
    (tmp_path / "shown.yaml").write_text(shown.out)
    assert load_fusion(tmp_path / "shown.yaml") == load_fusion(tmp_path / "mine.yaml")
    assert '# note: "more\\n[red]views[/red] \\u001b[2J"' in shown.out.splitlines()
    lines = run("diff", "current", number)
    assert "default: vtr.weight 1 -> 0.71\n" in lines.out
    assert (
        orjson.loads(run("diff", "current", "mine.yaml", "--json").out)["changes"] == lines.out.splitlines()
    )
    done = run("activate", number, "--why", "a test")
    assert (done.status, done.out) == (0, f"revision {number} is active; before, it was {before}\n")
    assert "vtr.weight 1 -> 0.71" in done.err
    assert site.http.get("/v1/fusion").json()["revision"] == number == active(site)
    listed = run("list", "--limit", 2)
    assert re.search(rf"^ \* +{number} +admin .* more \[red\]views\[/red\]", listed.out, re.MULTILINE)
    back = run("rollback", "--why", "it was worse", "--json")
    assert f"revision {number} is active; {before} would be\n  default: vtr.weight 0.71 -> 1\n" in back.err
    assert orjson.loads(back.out) == {"active": before, "before": number, "scheduled": None, "paused": []}
    told = run("audit", "--limit", 3)
    assert "revision rolled back" in told.out
    assert f"{number} -> {before}" in told.out
    assert len(orjson.loads(run("audit", "--limit", 2, "--json").out)["events"]) == 2
    for text in (listed.out, told.out):
        assert "\x1b" not in text
        assert max(map(len, text.splitlines())) <= 80


def test_an_activation_at_a_time_is_listed_and_taken_back(run, site, propose):
    number, before = propose(0.72), active(site)
    at = datetime.now(UTC) + timedelta(hours=1)
    done = run("activate", number, "--why", "tomorrow", "--at", at.isoformat(timespec="seconds"))
    assert done.out.startswith(f"scheduled: revision {number} at {at:%Y-%m-%d %H:%M} UTC, by admin")
    assert f"scheduled: revision {number}" in run("list").out
    assert run("cancel", "--why", "off").out == f"nothing is scheduled; revision {before} stays active\n"
    assert "nothing is scheduled" in run("cancel", "--why", "off").err
    past = run("activate", number, "--why", "x", "--at", "2020-01-01T00:00Z")
    assert (past.status, "--at 2020-01-01T00:00Z: this is not in the future" in past.err) == (1, True)
    assert "--at soon: expected a time such as" in run("activate", number, "--why", "x", "--at", "soon").err


def test_who_comes_too_late_learns_what_is_active_and_what_to_do(run, site, propose):
    before = active(site)
    mine, theirs = propose(0.73), propose(0.74)
    run("activate", theirs, "--why", "first")
    late = run("activate", mine, "--why", "second", "--if-active", before)
    assert late.status == 1
    assert f"revision {theirs} is active, by admin, not {before}" in late.err
    assert f"`fulcrum fusion diff {before} {theirs}`" in late.err
    assert f"--if-active {theirs}" in late.err
    assert "is active already" in run("activate", theirs, "--why", "again").err
    assert active(site) == theirs
    assert run("rollback", "--why", "x", "--if-active", before).status == 1
    assert run("rollback", "--why", "x", "--if-active", theirs).status == 0


def test_a_terminal_is_asked_and_may_say_no(run, site, propose, monkeypatch):
    number, before = propose(0.75), active(site)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    asked = []
    monkeypatch.setattr("typer.confirm", lambda question, err: asked.append(question))
    done = run("activate", number, "--why", "x")
    assert (done.status, asked) == (1, [f"Activate revision {number}?"])
    assert "nothing was changed" in done.err
    assert active(site) == before
    assert run("activate", number, "--why", "x", "--yes").status == 0
    assert run("rollback", "--why", "x", "--yes").status == 0


def test_a_history_is_exported_once_and_imported_into_a_fresh_service(
    run, site, propose, serve, tmp_path, fusion_config
):
    number = propose(0.76, "--note", "kept")
    run("activate", number, "--why", "x")
    history = tmp_path / "history"
    first = run("export", history)
    files = {path.name: path.read_bytes() for path in history.iterdir() if path.is_file()}
    assert files["active"] == f"{number}\n".encode()
    assert (first.status, len(files)) == (0, number + 1)
    later = propose(0.77)
    again = orjson.loads(run("export", history, "--json").out)
    assert again == {"active": number, "written": [later], "revisions": later}
    assert all((history / name).read_bytes() == content for name, content in files.items())
    other = {**fusion_config, "scenes": {"default": {"tasks": {"vtr": {"weight": 9.0}}}}}
    with serve(other, control=tmp_path / "fresh.sqlite", admin_token=TOKEN) as fresh:
        url = str(fresh.http.base_url)
        done = run("import", history, "--activate-active", "--why", "moved", "--json", url=url)
        assert done.status == 0, done.err
        assert orjson.loads(done.out)["proposed"][:2] == [1, 2]
        mixed = run("export", history, url=url)
        assert "export each service to a folder of its own" in mixed.err
        answer = fresh.http.get("/v1/fusion/revisions?limit=500").json()
        moved = {one["version"]: one for one in answer["revisions"]}
        kept = {version(load_fusion(path)): path for path in history.glob("*.yaml")}
        assert moved.keys() - kept.keys() == {version(load_fusion(fresh.fusion))}
        assert kept.keys() <= moved.keys()
        mine = moved[version(load_fusion(history / f"{number:04d}.yaml"))]
        assert mine["note"] == f"kept (imported from {number:04d}.yaml, by admin)"
        assert (mine["active"], answer["active"]) == (True, mine["revision"])
        parents = {one["revision"]: one["version"] for one in answer["revisions"]}
        assert parents[mine["parent"]] in kept
        once_more = orjson.loads(run("import", history, "--json", url=url).out)
        assert (once_more["proposed"], len(once_more["skipped"])) == ([], later)
    run("rollback", "--why", "x")


@pytest.mark.slow
def test_evidence_and_networks_go_along(run, site, serve, tmp_path):
    content = learned_network()
    sha256 = hashlib.sha256(content).hexdigest()
    config = yaml.safe_load(CONFIG % 0.81)
    learned = {"formula": "model", "file": "a.onnx", "sha256": sha256, "inputs": ["vtr", "shr"]}
    config["scenes"]["feed"] = {**learned, "fallback": "default"}
    (tmp_path / "a.onnx").write_bytes(content)
    (tmp_path / "learned.yaml").write_text(yaml.safe_dump(config))
    assert run("propose", "learned.yaml").err == ""
    (tmp_path / "a.onnx").unlink()
    assert "network a.onnx: there is no such file" in run("propose", "learned.yaml").err
    evidence = {"estimate": {"refused": False, "difference": 0.012, "interval": [0.008, 0.016]}, "odd": 1}
    body = {"config": {**config, "scenes": {**config["scenes"], "other": config["scenes"]["default"]}}}
    made = site.http.post(
        "/v1/fusion/revisions",
        json={**body, "evidence": evidence, "networks": {sha256: base64.b64encode(content).decode()}},
        headers={"authorization": f"Bearer {TOKEN}"},
    ).json()["revision"]
    assert '# - "estimate: reward +1.20% [+0.80% to +1.60%]"\n# - "odd"\n' in run("show", made).out
    history = tmp_path / "history"
    run("export", history)
    assert (history / "networks" / f"{sha256}.onnx").read_bytes() == content
    assert orjson.loads((history / f"{made:04d}.evidence.json").read_bytes()) == evidence
    with serve(control=tmp_path / "fresh.sqlite", admin_token=TOKEN) as fresh:
        assert run("import", history, url=str(fresh.http.base_url)).status == 0
        revisions = fresh.http.get("/v1/fusion/revisions?limit=500").json()["revisions"]
        moved = fresh.http.get(f"/v1/fusion/revisions/{revisions[0]['revision']}").json()
        assert moved["evidence"] == evidence
        assert fresh.http.get(f"/v1/fusion/networks/{sha256}").content == content


def learned_network():
    from tests.support.learned_networks import Graph

    graph = Graph()
    return graph.finish(graph("Gemm", ["x", graph.constant([[1.0], [0.5]])]), columns=2)


def test_a_config_that_does_not_fit_is_proposed_and_said_to_be_unfit(run, tmp_path):
    (tmp_path / "odd.yaml").write_text("schema_version: 1\nscenes: {default: {tasks: {shar: {weight: 1}}}}")
    done = run("propose", "odd.yaml")
    assert done.status == 0
    assert "it does not fit the bundle that serves: " in done.err
    assert "activate it with" not in done.out
    number = re.match(r"revision (\d+), of \d+, by admin\n", done.out)[1]
    refused = run("activate", number, "--why", "x")
    assert (refused.status, "unknown task 'shar'" in refused.err) == (1, True)


def test_what_is_wrong_is_one_line_that_says_what_to_do(run, served, tmp_path, monkeypatch):
    (tmp_path / "bad.yaml").write_text("a: [")
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "networks").touch()
    (tmp_path / "odd" / "0001.yaml").write_text("scenes: 1")
    (tmp_path / "token").write_text("nobody's\n")
    (tmp_path / "two").write_text("a b\n")
    for words, says in (
        (("propose", "none.yaml"), "none.yaml: fusion config: cannot read the file"),
        (("propose", "bad.yaml"), "bad.yaml: fusion config: not valid YAML"),
        (("show", "1", "--bundle", "b"), "--bundle goes with a file"),
        (("show", "9999"), "there is no revision 9999"),
        (("import", "none"), "none: there is no such folder"),
        (("import", "empty"), "empty: no 0001.yaml and so on in it"),
        (("import", "empty", "--activate-active"), "say why, with --why TEXT"),
        (("import", "odd"), "odd/0001.yaml: fusion config: schema_version"),
        (("export", "odd"), "export to odd: odd/networks: File exists"),
        (("show", "9" * 30), "there is no revision 999"),
        (("export", "bad.yaml"), "expected a folder, found a file"),
        (("list", "--token-file", "none"), "--token-file none: cannot read the file"),
        (("list", "--token-file", "two"), "--token-file two: 2 words in it; expected a token"),
        (("audit", "--token-file", "token"), "401 A token is needed: the token is nobody's"),
        (("audit", "--token-file", "token"), "(token of --token-file token)"),
        (("diff", "bad.yaml", "current", "--reward", "vtr"), "--reward is of a replay: give --log OUT"),
    ):
        done = run(*words)
        assert (done.status, done.out) == (1, ""), words
        assert says in " ".join(done.err.split()), words
        assert "Traceback" not in done.err
    monkeypatch.setenv("FULCRUM_TOKEN", "nobody's")
    assert "(token of FULCRUM_TOKEN)" in run("audit").err
    monkeypatch.delenv("FULCRUM_TOKEN")
    assert "no token was sent: give --token-file FILE" in run("audit").err
    away = run("list", url="http://127.0.0.1:9")
    assert (away.status, "is `fulcrum serve` running there?" in away.err) == (1, True)
    without = run("list", url=str(served.http.base_url))
    assert "start the service with --control FILE.sqlite" in without.err
