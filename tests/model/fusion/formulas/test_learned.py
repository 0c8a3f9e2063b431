"""The learned formula: columns of its network, scores, and terms that sum to them."""

from __future__ import annotations

import numpy as np
import pytest

from model.fusion import FusionError, LearnedFormula, explain, parse_fusion, score

FORMULA = {
    "formula": "model",
    "file": "score.onnx",
    "sha256": "0" * 64,
    "inputs": ["shr", "video_len_s", "vtr"],
    "fallback": "default",
    "calibration": {"vtr": {"map": {"kind": "isotonic", "points": [[0.0, 0.0], [1.0, 0.5]]}}},
}
N = 50
RANDOM = np.random.default_rng(5)
P = {task: RANDOM.uniform(size=N).astype(np.float32) for task in ("vtr", "cmr", "shr")}
LENGTHS = np.where(RANDOM.uniform(size=N) < 0.2, np.nan, RANDOM.uniform(1.0, 300.0, N))


def formula(**changes) -> LearnedFormula:
    config = {"schema_version": 1, "scenes": {"default": {"tasks": {}}, "learned": {**FORMULA, **changes}}}
    scene = parse_fusion(str(config)).scenes["learned"]
    assert isinstance(scene, LearnedFormula)
    return scene


def network(inputs: np.ndarray) -> np.ndarray:
    """A product of two inputs, so that terms depend on their order."""
    shr, length, vtr = inputs.T
    return (1.5 + shr * (1.0 + vtr) + np.nan_to_num(length, nan=40.0) * np.float32(0.01)).astype(np.float32)


def test_the_network_sees_calibrated_predictions_and_lengths_in_the_order_of_its_inputs():
    seen = []
    fused = score(formula(), P, LENGTHS, scorer=lambda inputs: (seen.append(inputs), network(inputs))[1])
    expected = np.stack([P["shr"], LENGTHS, 0.5 * P["vtr"].astype(np.float64)], axis=1).astype(np.float32)
    np.testing.assert_array_equal(seen[0], expected)
    assert fused.log_score is None
    assert fused.order.tolist() == network(expected).astype(np.float64).tolist()


def test_terms_sum_to_the_score_which_is_that_without_them():
    told = explain(formula(), P, LENGTHS, scorer=network)
    assert told.fused.score.tolist() == score(formula(), P, LENGTHS, scorer=network).score.tolist()
    total = told.base.copy()
    for part in told.tasks.values():
        total += part.term
    assert (total + told.video_len.term).tolist() == told.fused.score.tolist()
    np.testing.assert_array_equal(told.base, np.full(N, np.float32(1.5) + np.float32(0.4)))


def test_a_term_is_what_the_score_gains_by_an_input_after_those_before_it():
    told = explain(formula(), P, LENGTHS, scorer=network)
    vtr = 0.5 * P["vtr"]
    np.testing.assert_allclose(told.tasks["shr"].term, P["shr"], atol=1e-6)
    np.testing.assert_allclose(told.tasks["vtr"].term, P["shr"] * vtr, atol=1e-6)
    np.testing.assert_allclose(
        told.video_len.term, 0.01 * (np.nan_to_num(LENGTHS, nan=40.0) - 40.0), atol=1e-6
    )
    assert (told.tasks["cmr"].weight, told.tasks["cmr"].term.tolist()) == (0.0, [0.0] * N)
    assert told.tasks["vtr"].p.tolist() == P["vtr"].tolist()
    np.testing.assert_allclose(told.tasks["vtr"].calibrated, vtr, rtol=1e-6)


def test_without_the_length_among_the_inputs_it_has_no_term():
    scene = formula(inputs=["vtr", "shr"])
    told = explain(scene, P, LENGTHS, scorer=lambda inputs: inputs.sum(axis=1))
    assert told.video_len.term.tolist() == [0.0] * N


@pytest.mark.parametrize("ask", [score, explain])
def test_without_its_network_there_is_no_score(ask):
    with pytest.raises(FusionError, match=r"the network score\.onnx of the formula is not at hand"):
        ask(formula(), P, LENGTHS)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"video_len": {"kind": "log", "scale_s": 30.0}}, "takes the length as an input, video_len_s"),
        ({"explore": {"share": 0.1, "noise": 0.2}}, "no weights to explore"),
        ({"inputs": ["video_len_s"]}, "no task among the inputs"),
        ({"inputs": ["vtr", "vtr"]}, "an input stands twice"),
        ({"file": "../score.onnx"}, "scenes.learned.file"),
    ],
)
def test_a_setting_that_a_network_would_not_heed_is_refused(changes, says):
    with pytest.raises(FusionError, match=says):
        formula(**changes)
