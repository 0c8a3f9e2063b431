import pytest
import torch

from model.network.layers.dropout import Dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("rate", [0.001, 0.2, 0.9])
def test_it_drops_its_share_and_keeps_the_mean(rate: float, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    x = torch.ones(1000, 401, dtype=dtype, requires_grad=True)
    dropped = Dropout(rate)(x)
    assert (dropped == 0).double().mean().item() == pytest.approx(rate, rel=0.1)
    assert dropped.double().mean().item() == pytest.approx(1.0, abs=0.01)
    assert dropped.unique().numel() == 2
    dropped.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, dropped)


def test_units_are_dropped_independently_of_their_neighbours() -> None:
    torch.manual_seed(2)
    kept = (Dropout(0.5)(torch.ones(400_000)) != 0).double() - 0.5
    for apart in (1, 2, 3, 4, 8):
        assert (kept[apart:] * kept[:-apart]).mean().abs() < 0.002


def test_it_rests_in_evaluation_and_at_a_rate_of_zero() -> None:
    x = torch.randn(7, 3)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


def test_the_same_seed_drops_the_same_units() -> None:
    x = torch.ones(1001)

    def drop(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return Dropout(0.3)(x)

    assert torch.equal(drop(1), drop(1))
    assert not torch.equal(drop(1), drop(2))
