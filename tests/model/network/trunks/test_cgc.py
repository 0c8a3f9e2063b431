import torch

from model.network.trunks.cgc import CGC, CGCConfig
from model.network.trunks.ple import PLE, PLEConfig
from tests.model.network.trunks.literal import heads


def test_it_is_ple_of_one_level() -> None:
    settings = {"experts": {"shared": 1, "task": {"a": 2, "b": 1}}, "expert": [8, 4], "tower": [3]}
    trunks = []
    for trunk, config in ((CGC, CGCConfig), (PLE, PLEConfig)):
        levels = {"levels": 1} if config is PLEConfig else {}
        torch.manual_seed(0)
        trunks.append(
            trunk(config.model_validate(settings | levels), fields=(2, 3), tasks=heads("a", "b")).eval()
        )
    x = torch.randn(6, 5)
    torch.testing.assert_close(trunks[0](x), trunks[1](x), rtol=0, atol=0)
