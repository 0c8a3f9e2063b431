import pytest
import torch

from model.network.heads import TaskHead, prediction, predictions

EXTREME = torch.tensor([-float("inf"), -1e30, -200.0, -20.0, 0.0, 20.0, 200.0, 1e30, float("inf")])


def test_a_binary_output_is_a_logit() -> None:
    output = torch.randn(50, dtype=torch.float64)
    expected = 1 / (1 + torch.exp(-output))
    torch.testing.assert_close(prediction(TaskHead("vtr", "binary"), output), expected)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-3.0, -0.1), (0.1, 0.7), (5.0, 1e6)])
def test_a_regression_stays_within_its_bounds_at_extreme_outputs(bounds: tuple[float, float]) -> None:
    value = prediction(TaskHead("vcr", "regression", bounds), EXTREME)
    low, high = torch.tensor(bounds)
    assert ((value >= low) & (value <= high)).all()
    torch.testing.assert_close(value[[0, 4, -1]], torch.stack([low, (low + high) / 2, high]))


def test_columns_are_read_by_their_own_head() -> None:
    heads = [TaskHead("vtr", "binary"), TaskHead("watch", "regression", (0.0, 60.0))]
    outputs = torch.randn(7, 2)
    expected = torch.sigmoid(outputs) * torch.tensor([1.0, 60.0])
    torch.testing.assert_close(predictions(heads, outputs), expected)


@pytest.mark.parametrize("bounds", [(1.0, 1.0), (1.0, 0.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_bounds_that_do_not_rise_are_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="task 'vcr': bounds must be finite and rising"):
        TaskHead("vcr", "regression", bounds)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="task 'vcr': unknown kind 'ordinal'; binary and regression exist"):
        TaskHead("vcr", "ordinal")  # type: ignore[arg-type]
