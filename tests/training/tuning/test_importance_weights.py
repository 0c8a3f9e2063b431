import numpy as np
import pytest

from model.fusion import Explore, LogPower, TaskTerm

REQUESTS = 100_000
SCENE = LogPower(
    tasks={
        "vtr": TaskTerm(weight=1.0),
        "vcr": TaskTerm(weight=0.05),
        "shr": TaskTerm(weight=-0.5, smoothing=0.02),
    }
)


@pytest.mark.parametrize("shift", [0.25, 0.5, 1.0])
def test_importance_weights_of_other_means_average_to_one(shift):
    """The density of what is logged is known exactly: of the law's own weights, and of any shifted law's."""
    law = Explore(share=1.0, noise=0.2)
    means = np.array(list(SCENE.parameters().values()))
    hashes = np.random.default_rng(3).integers(0, 2**64, REQUESTS, np.uint64)
    applied = law.draw(means, hashes)
    direction = np.array([1.0, -1.0, 1.0, 1.0]) / 2.0
    other = means + shift * direction * law.deviations(means)
    sd = law.deviations(means)
    log_density = [-0.5 * (((applied - mean) / sd) ** 2).sum(axis=1) for mean in (other, means)]
    weights = np.exp(log_density[0] - log_density[1])
    error = weights.std() / np.sqrt(REQUESTS)
    assert abs(weights.mean() - 1.0) < 3.0 * error
    assert error == pytest.approx(np.sqrt(np.expm1(shift**2) / REQUESTS), rel=0.1)
    np.testing.assert_allclose((weights @ applied) / weights.sum(), other, atol=6.0 * sd.max() * error)
