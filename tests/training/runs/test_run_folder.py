"""The run folder: what is kept can be read again, whole."""

from __future__ import annotations

import orjson
import pytest
import torch

from model.errors import FulcrumError
from training.recipe import load_recipe
from training.runs.run_folder import RunFolder


def test_epochs_are_appended_and_the_best_weights_replaced(tmp_path):
    folder = RunFolder(tmp_path / "deep" / "run", load_recipe("demo"), "data")
    for epoch in (1, 2):
        folder.record({"epoch": epoch})
        folder.keep({"weight": torch.full((2,), float(epoch))})
    lines = (folder.path / "metrics.jsonl").read_bytes().splitlines()
    assert [orjson.loads(line)["epoch"] for line in lines] == [1, 2]
    assert torch.load(folder.path / "best.pt", weights_only=True)["weight"].tolist() == [2.0, 2.0]


def test_weights_that_fail_to_be_written_leave_the_former_ones(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path, load_recipe("demo"), "data")
    folder.keep({"weight": torch.ones(2)})

    def crash(_, file):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(OSError, match="no space left"):
        folder.keep({"weight": torch.zeros(2)})
    assert torch.load(tmp_path / "best.pt", weights_only=True)["weight"].tolist() == [1.0, 1.0]


def begun(path, *overrides, data="data", **more):
    return RunFolder(path, load_recipe("demo", overrides), data, **more)


def test_a_folder_that_holds_a_run_takes_no_other(tmp_path):
    begun(tmp_path).close()
    with pytest.raises(FulcrumError, match="holds a run already; name another one, or resume it"):
        RunFolder(tmp_path, load_recipe("bench"), "data")


def test_a_run_is_found_again_with_its_last_checkpoint(tmp_path):
    with begun(tmp_path) as first:
        assert not first.resumed
        assert first.last_checkpoint() is None
        first.checkpoint({"step": 1})
        first.checkpoint({"step": 2, "weights": {"w": torch.ones(3)}, "loss": float("nan"), "none": None})
    with begun(tmp_path, resume=True) as again:
        assert again.resumed
        assert again.changes == []
        state = again.last_checkpoint()
        assert (state["step"], state["weights"]["w"].tolist(), state["none"]) == (2, [1.0] * 3, None)
    run = orjson.loads((tmp_path / "run.json").read_bytes())
    assert len(run["resumed"]) == 1
    assert run["started"] <= run["resumed"][0]


def test_to_resume_where_no_run_is_begins_one(tmp_path):
    with begun(tmp_path / "new", resume=True) as folder:
        assert not folder.resumed
    assert (tmp_path / "new" / "run.json").is_file()


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (["training.epochs=9"], r"training\.epochs is 4 there and 9 here\. Give the same recipe"),
        (["features.tab.width=5"], r"features\.tab\.width is 4 there and 5 here"),
        (["tasks.shr.where=null"], r"tasks\.shr\.where is 'play_time_ms.*' there and null here"),
        (["training.loss_weights={kind: uncertainty}"], r"training\.loss_weights\.kind is 'fixed' there and"),
        (
            ["training.loss_weights={kind: decayed, ratio: {shr: 0.9}}"],
            r"ratio is absent there and a mapping here",
        ),
        (["data.split={last: 0.5}"], r"data\.split\.train is 'day <= 7' there and absent here"),
        (["network.expert=[8]"], r"network\.expert is a list of 2 there and a list of 1 here"),
        (
            ["training.seed=1", "training.batch=2", "training.epochs=9", "training.patience=9"],
            r"training\.batch is 1024 there .*seed is 7 there and 1 here \(and 1 more\)",
        ),
    ],
)
def test_a_run_of_another_recipe_is_not_resumed_and_what_differs_is_named(tmp_path, overrides, match):
    begun(tmp_path).close()
    before = (tmp_path / "recipe.json").read_bytes(), (tmp_path / "run.json").read_bytes()
    with pytest.raises(FulcrumError, match=rf"started with another recipe: .*{match}"):
        begun(tmp_path, *overrides, resume=True)
    assert ((tmp_path / "recipe.json").read_bytes(), (tmp_path / "run.json").read_bytes()) == before


def test_what_decides_no_outcome_may_differ_and_a_former_versions_recipe_has_todays_defaults(tmp_path):
    begun(tmp_path).close()
    recipe = orjson.loads((tmp_path / "recipe.json").read_bytes())
    del recipe["training"]["loss_weights"]
    (tmp_path / "recipe.json").write_bytes(orjson.dumps(recipe))
    assert begun(tmp_path, "training.checkpoint_seconds=1", resume=True).resumed


def test_a_run_of_other_data_is_not_resumed(tmp_path):
    begun(tmp_path).close()
    with pytest.raises(FulcrumError, match=r"started on other data: data there, more here\. Give the same"):
        begun(tmp_path, data="more", resume=True)
    # The refusal has let the folder go.
    assert begun(tmp_path, resume=True).resumed


def test_one_process_at_a_time_is_at_a_run(tmp_path):
    with begun(tmp_path):
        for resume in (True, False):
            with pytest.raises(FulcrumError, match="another process is at this run; wait for it or end it"):
                begun(tmp_path, resume=resume)
    assert begun(tmp_path, resume=True).resumed


def test_a_checkpoint_that_fails_to_be_written_leaves_the_former_one(tmp_path, monkeypatch):
    folder = begun(tmp_path)
    folder.checkpoint({"step": 1})
    save = torch.save

    def tear(state, file):
        save(state, file)
        file.truncate(100)
        raise OSError("no space left on device")

    with monkeypatch.context() as torn:
        torn.setattr(torch, "save", tear)
        with pytest.raises(OSError, match="no space left"):
            folder.checkpoint({"step": 2})
    assert folder.last_checkpoint() == {"step": 1}


def test_a_checkpoint_damaged_on_disk_is_refused_and_never_unpickled(tmp_path):
    folder = begun(tmp_path)
    folder.checkpoint({"weights": torch.arange(1000)})
    whole = (tmp_path / "checkpoint.pt").read_bytes()
    refusal = pytest.raises(FulcrumError, match=r"checkpoint\.pt cannot be read; start a new run")
    torch.save({"path": tmp_path}, tmp_path / "pickle.pt")
    for damaged in (whole[: len(whole) // 2], b"", b"PK", (tmp_path / "pickle.pt").read_bytes()):
        (tmp_path / "checkpoint.pt").write_bytes(damaged)
        with refusal:
            folder.last_checkpoint()


def test_what_lies_in_a_new_runs_folder_is_not_taken_for_its_own(tmp_path):
    with begun(tmp_path) as former:
        former.record({"epoch": 1})
        former.keep({"weight": torch.ones(1)})
        former.checkpoint({"step": 1})
    (tmp_path / "run.json").unlink()
    with begun(tmp_path, resume=True) as folder:
        assert not folder.resumed
        assert folder.last_checkpoint() is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recipe.json", "run.json"]


def test_a_run_that_goes_back_forgets_later_epochs(tmp_path):
    folder = begun(tmp_path)
    for epoch in (1, 2, 3):
        folder.record({"epoch": epoch})
        folder.keep({"weight": torch.full((1,), float(epoch))})
    folder.return_to([{"epoch": 1}], {"weight": torch.ones(1)})
    folder.record({"epoch": 2})
    lines = (tmp_path / "metrics.jsonl").read_bytes().splitlines()
    assert [orjson.loads(line) for line in lines] == [{"epoch": 1}, {"epoch": 2}]
    assert torch.load(tmp_path / "best.pt", weights_only=True)["weight"].tolist() == [1.0]
    folder.return_to([], {})
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""
    assert not (tmp_path / "best.pt").exists()


def test_a_machine_that_differs_is_named(tmp_path):
    begun(tmp_path, "training.threads=1").close()
    run = orjson.loads((tmp_path / "run.json").read_bytes())
    run["environment"] |= {"torch": "1.0", "cores": "999"}
    (tmp_path / "run.json").write_bytes(orjson.dumps(run))
    (change,) = begun(tmp_path, "training.threads=1", resume=True).changes
    assert change == f"torch is '1.0' there and '{torch.__version__}' here"


def test_half_a_checkpoint_that_a_killed_process_left_goes_when_the_run_goes_on(tmp_path):
    begun(tmp_path).close()
    (tmp_path / ".checkpoint.pt-123").write_bytes(b"half")
    begun(tmp_path, resume=True).close()
    assert not (tmp_path / ".checkpoint.pt-123").exists()
