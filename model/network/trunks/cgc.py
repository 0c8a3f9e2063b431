"""CGC: customized gate control, PLE of one level.

After Tang et al., "Progressive Layered Extraction", RecSys 2020, section 4.1.
"""

from collections.abc import Sequence
from typing import Literal

from model.network.config import ExtractionConfig
from model.network.heads import TaskHead
from model.network.trunks.ple import PLE, PLEConfig


class CGCConfig(ExtractionConfig):
    """Settings of CGC, which are PLE's without its levels."""

    model: Literal["cgc"] = "cgc"


class CGC(PLE, config=CGCConfig):
    """x [B, D] -> T tower outputs; the same as `PLE` of one level.

    Raises:
        ValueError: the config names a task that does not exist, or leaves one out of a mapping.
    """

    def __init__(self, config: CGCConfig, *, fields: Sequence[int], tasks: Sequence[TaskHead]) -> None:
        settings = config.model_dump(exclude={"model"})
        super().__init__(PLEConfig(levels=1, **settings), fields=fields, tasks=tasks)
