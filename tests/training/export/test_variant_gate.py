"""The gate of variants: what loses much fails, what loses nothing passes, what is unknown does not."""

from __future__ import annotations

import numpy as np
import pytest

from model.encoding import EncodedRows
from model.fusion import DEFAULT_SCENE, default_fusion
from model.schema import BinaryTask, RegressionTask
from training.export.variant_gate import Check, K, Request, VariantGate, judge_orders, judge_tasks
from training.rows.batches import EncodedLog

TASKS = (
    BinaryTask(name="vtr", type="binary", label="a"),
    RegressionTask(name="vcr", type="regression", label="b", bounds=(0, 1)),
    BinaryTask(name="shr", type="binary", label="c"),
)
ROWS, USERS = 12_000, 300
SCENE = default_fusion(["vtr", "vcr", "shr"]).scenes[DEFAULT_SCENE]


def held_out(rows: int = ROWS, users: int = USERS) -> tuple[EncodedLog, dict[str, np.ndarray]]:
    """Labels, and predictions that are right about them; shares are rare."""
    random = np.random.default_rng(4)
    exact = {
        "vtr": random.uniform(0.1, 0.9, rows).astype(np.float32),
        "vcr": random.uniform(0.1, 0.9, rows).astype(np.float32),
        "shr": random.uniform(0.001, 0.02, rows).astype(np.float32),
    }
    labels = np.stack(
        [
            random.random(rows) < exact["vtr"],
            np.clip(exact["vcr"] + random.normal(0, 0.2, rows), 0, 1),
            random.random(rows) < exact["shr"],
        ],
        axis=1,
    ).astype(np.float32)
    nothing = EncodedRows(np.zeros((rows, 0), np.int64), np.zeros((rows, 0), np.float32))
    user = random.integers(0, users, rows)
    return EncodedLog(nothing, nothing, labels, np.ones(labels.shape, bool), user, user), exact


def noisy(exact: dict[str, np.ndarray], **noise: float) -> dict[str, np.ndarray]:
    """Noise in log-odds."""
    random = np.random.default_rng(6)
    found = {}
    for name, p in exact.items():
        odds = np.log(p / (1 - p)) + random.normal(0, noise.get(name, 0.0) or 1e-6, len(p))
        found[name] = (1 / (1 + np.exp(-odds))).astype(np.float32)
    return found


def test_next_to_no_noise_passes_every_check():
    rows, exact = held_out()
    checks = judge_tasks(TASKS, exact, noisy(exact, vtr=0.002, vcr=0.002, shr=0.002), rows)
    assert [check.name for check in checks] == ["vtr.auc", "vcr.mse", "shr.drift", "shr.rate"]
    assert all(check.passed and check.verdict == "passed" for check in checks)


@pytest.mark.parametrize(("task", "check"), [("vtr", "vtr.auc"), ("vcr", "vcr.mse"), ("shr", "shr.drift")])
def test_noise_in_one_task_fails_its_check_alone(task, check):
    rows, exact = held_out()
    checks = judge_tasks(TASKS, exact, noisy(exact, **{task: 0.5}), rows)
    failed = [each for each in checks if not each.passed and each.name != "shr.rate"]
    assert [each.name for each in failed] == [check]
    assert failed[0].verdict == "failed"
    assert failed[0].loss > failed[0].most


def test_a_rare_tasks_rate_may_not_move():
    rows, exact = held_out()
    moved = exact | {"shr": exact["shr"] * np.float32(1.02)}
    by_name = {check.name: check for check in judge_tasks(TASKS, exact, moved, rows)}
    assert by_name["shr.rate"].loss == pytest.approx(0.02, rel=1e-3)
    assert not by_name["shr.rate"].passed
    assert by_name["shr.drift"].passed


def test_a_better_variant_passes():
    rows, exact = held_out()
    poor = noisy(exact, vtr=1.0, vcr=1.0)
    checks = judge_tasks(TASKS, poor, exact, rows)
    assert all(check.passed and check.loss < 0 for check in checks if check.name in ("vtr.auc", "vcr.mse"))


def test_too_few_users_leave_it_undecided_and_that_is_no_pass():
    rows, exact = held_out(users=5)
    by_name = {check.name: check for check in judge_tasks(TASKS, exact, noisy(exact), rows)}
    assert not by_name["vtr.auc"].passed
    assert by_name["vtr.auc"].verdict.startswith("undecided: more rows")


def request(exact: np.ndarray, variant: np.ndarray) -> Request:
    flat = np.full(len(exact), 0.5, np.float32)

    def predictions(vtr: np.ndarray) -> dict[str, np.ndarray]:
        return {"vtr": vtr.astype(np.float32), "vcr": flat, "shr": flat}

    return Request(predictions(exact), predictions(variant), np.full(len(exact), 30.0))


def test_regret_is_the_share_of_the_exact_score_that_the_variants_best_lack():
    exact = np.concatenate([np.full(K, 0.8), np.full(K, 0.4)])
    half_wrong = exact.copy()
    half_wrong[: K // 2] = 0.1
    weight = SCENE.tasks["vtr"].weight
    check, overlap = judge_orders(SCENE, [request(exact, half_wrong)] * 4)
    assert check.loss == pytest.approx(0.5 * (1 - 0.5**weight), rel=1e-6)
    assert overlap == 0.5
    assert not check.passed


def test_another_order_of_equal_worth_has_no_regret():
    exact = np.full(4 * K, 0.5)
    variant = exact + np.random.default_rng(1).normal(0, 1e-3, len(exact))
    check, overlap = judge_orders(SCENE, [request(exact, variant)] * 3)
    assert (check.loss, check.passed) == (pytest.approx(0.0, abs=1e-12), True)
    assert overlap < 1


def test_one_request_decides_nothing():
    check, _ = judge_orders(SCENE, [request(np.linspace(0.1, 0.9, 100), np.linspace(0.1, 0.9, 100))])
    assert not check.passed


def test_the_report_has_each_check():
    rows, exact = held_out()
    checks = judge_tasks(TASKS, exact, noisy(exact, vtr=0.5), rows)
    gate = VariantGate(checks, ROWS, 7, 0.9)
    assert [check.name for check in gate.failures] == ["vtr.auc"]
    report = gate.report()
    assert (report["rows"], report["requests"], report["overlap"]) == (ROWS, 7, 0.9)
    assert report["checks"]["vtr.auc"]["passed"] is False
    assert report["checks"]["vcr.mse"]["passed"] is True


def test_a_loss_that_cannot_be_computed_has_failed_and_asks_for_no_more_rows():
    nan = float("nan")
    check = Check("vtr.auc", nan, (nan, nan), 0.0005, "AUC lost")
    assert not check.passed
    assert check.verdict == "failed: it cannot be computed"
