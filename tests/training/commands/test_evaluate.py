"""`fulcrum evaluate`: options, what is printed, what is refused."""

from __future__ import annotations

from functools import partial

import orjson
import pytest

FUSION = """
schema_version: 1
scenes: {default: {tasks: {vtr: {weight: 1.0}, shr: {weight: 0.2}}, video_len: {kind: none}}}
"""


@pytest.fixture
def evaluate(called, monkeypatch, tmp_path, trained):
    """Run the command on the trained bundle in an empty folder: exit status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fusion.yaml").write_text(FUSION)

    return partial(called, "evaluate", trained.bundle, "--data", trained.data)


def test_the_short_answer_is_one_table(evaluate):
    code, out, _ = evaluate()
    assert code == 0
    for part in ("within user_id", "within tab", "predicted/observed", "vtr", "vcr", "shr"):
        assert part in out
    assert len(out.splitlines()) < 12
    assert "nan" not in out


def test_a_comparison_says_better_worse_or_undecided(evaluate, trained):
    code, out, err = evaluate("--against", trained.bundle)
    assert code == 0
    assert "Comparing with" in err
    assert out.count("undecided") == 7
    assert "+0.0000 [+0.0000, +0.0000]" in out


def test_a_fused_score_is_judged_under_a_reward(evaluate):
    code, out, _ = evaluate("--fusion", "fusion.yaml", "--reward", "vtr + 2 * shr")
    assert code == 0
    for part in (
        "reward vtr + 2 * shr",
        "NDCG@10",
        "fused score",
        "chance",
        "AUC of the fused score: vtr 0.",
    ):
        assert part in out


def test_details_show_bins_and_all_rows(evaluate):
    code, out, _ = evaluate("--detail")
    assert code == 0
    for part in ("shr, all", "vcr by decile", "vcr by video length", "7 to 15", "bias [95 %]", "MSE [95 %]"):
        assert part in out


def test_all_of_it_as_json_is_one_object(evaluate, trained):
    code, out, _ = evaluate(
        "--json", "--detail", "--fusion", "fusion.yaml", "--against", trained.bundle, "--group", "tab"
    )
    report = orjson.loads(out)
    assert code == 0
    assert report["data"]["group"] == "tab"
    assert report["against"]["tasks"]["vcr"]["mse"]["verdict"] == "undecided"
    assert report["fusion"]["ndcg"]["groups"] == 2
    assert {"all_rows", "deciles", "lengths", "calibration_error"} <= set(report["tasks"]["shr"])


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--reward", "vtr"), "give --fusion FILE too"),
        (("--fusion", "fusion.yaml", "--reward", "vtr + lik"), "there is no label 'lik'"),
        (("--fusion", "fusion.yaml", "--reward", "vtr - 2"), "expected 0 or more"),
        (("--against", "nowhere"), "nowhere is not a bundle"),
        (("--group", "request_id"), "group 'request_id': this column is not in the data"),
    ],
)
def test_bad_options_are_one_line_and_a_failure(evaluate, words, part):
    code, out, err = evaluate(*words)
    assert (code, out) == (1, "")
    assert part in err.strip().splitlines()[-1]
    assert "Traceback" not in err
