"""Thresholds of a regression, by the length of the video: what an ordinal head knows of its labels.

After Sun et al., CREAD (AAAI 2024): a watch time is many questions, "is y at least t_m?", and the prediction
is made of their answers. After Zhan et al., D2Q (KDD 2022): the t_m are quantiles among videos of like
length, so that a prediction starts from what such videos reach. Knows neither how the tables are fitted nor
losses.

Shapes: N candidates, M thresholds, L bins of length, Fn numeric columns of the item.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Ordinal:
    """How a regression asks for thresholds."""

    thresholds: int
    """M, at most; where labels are alike, fewer are in use."""
    bins: int
    """L, at most."""
    length: int
    """The column of the item's numbers that holds the video's length, as it is encoded."""


class Thresholds(nn.Module):
    """The tables, fitted on training rows: the row of its length bin for each candidate.

    With v_0 the mean label below t_1, and v_m that from t_m up to the next threshold, the label's expectation
    is v_0 + sum over m of P(y >= t_m) (v_m - v_{m-1}). So a table holds v_0 and the steps, not the t alone.

    A threshold that is not in use is infinite, and its step 0.
    """

    def __init__(self, ordinal: Ordinal) -> None:
        super().__init__()
        self.length = ordinal.length
        self.register_buffer("edges", torch.full((ordinal.bins - 1,), torch.inf))
        self.register_buffer("floor", torch.zeros(ordinal.bins, 1))
        self.register_buffer("steps", torch.zeros(ordinal.bins, ordinal.thresholds))
        self.register_buffer("reached", torch.full((ordinal.bins, ordinal.thresholds), torch.inf))
        self.edges: Tensor  # [L - 1], rising; a length of an edge or more is beyond it
        self.floor: Tensor  # [L, 1], v_0
        self.steps: Tensor  # [L, M], v_m - v_{m-1}
        self.reached: Tensor  # [L, M], t_m

    def forward(self, item_numeric: Tensor) -> Tensor:
        """The row of each candidate's bin, v_0, then M steps, then M thresholds: [N, Fn] -> [N, 1 + 2 M]."""
        length = item_numeric[:, self.length, None]  # [N, 1]
        bins = (length >= self.edges).sum(dim=1)  # [N]
        table = torch.cat([self.floor, self.steps, self.reached], dim=1)
        return table.index_select(0, bins)
