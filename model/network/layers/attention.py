"""Target attention: a history seen from the candidate (Zhou et al., Deep Interest Network, KDD 2018).

Keys and values are made once a request; each candidate weighs them by its own embedding. Knows nothing of
where the embeddings come from.

Shapes: R requests, N candidates of all requests, L values of a history, H heads of width d, D = H d.
"""

import math

import torch
from torch import Tensor, nn

_EPSILON = 1e-6


class TargetAttention(nn.Module):
    """query [N, D], history [R, L, D], present bool [R, L], row_to_user int64 [N] -> [N, D].

    Scaled dot products of normalised queries and keys, plus a learned bias of the place in the history
    (newest first). Beside the history stands a learned slot of nothing, which is always there: an empty
    history is all of it, and a candidate to which no value matters falls back on it. Normalising makes the
    weights independent of the embeddings' size, which is small where values are rare.

    Projections start from the identity, so that at first like attends to like.
    """

    def __init__(self, width: int, values: int, heads: int = 1) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads do not part a width of {width}")
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        for projection in (self.query, self.key, self.value):
            nn.init.eye_(projection.weight)
        self.sharpness = nn.Parameter(torch.ones(heads, 1, 1))
        self.recency = nn.Parameter(torch.zeros(heads, 1, values))
        self.nothing_key = nn.Parameter(torch.zeros(heads, 1, width // heads))
        self.nothing_value = nn.Parameter(torch.zeros(heads, 1, width // heads))

    def forward(self, query: Tensor, history: Tensor, present: Tensor, row_to_user: Tensor) -> Tensor:
        """What the history says of each candidate: [N, D]."""
        keys = normal(self._parted(self.key(history))).transpose(2, 3)  # [R, H, d, L]
        values = self._parted(self.value(history))  # [R, H, L, d]
        absent = torch.where(present, 0.0, -torch.inf)[:, None, None, :]  # [R, 1, 1, L]
        bias = self.recency + absent  # [R, H, 1, L]
        asked = normal(self._parted(self.query(query).unsqueeze(1))) * self._scale  # [N, H, 1, d]
        own = (part.index_select(0, row_to_user) for part in (keys, values, bias))
        keys, values, bias = own  # [N, H, d, L], [N, H, L, d], [N, H, 1, L]
        of_nothing = (asked * self.nothing_key).sum(dim=3, keepdim=True)  # [N, H, 1, 1]
        alike = self._product(asked, keys)  # [N, H, 1, L]
        weights = torch.softmax(torch.cat([of_nothing, alike + bias], dim=3), dim=3)
        of_history = self._product(weights[..., 1:], values)  # [N, H, 1, d]
        found = weights[..., :1] * self.nothing_value + of_history  # [N, H, 1, d]
        return torch.flatten(found, 1)

    def _product(self, row: Tensor, matrix: Tensor) -> Tensor:
        """[N, H, 1, a] by [N, H, a, b] -> [N, H, 1, b]."""
        if self.training:  # many small products take twice as long there, and half as long in onnxruntime
            return (row.transpose(2, 3) * matrix).sum(dim=2, keepdim=True)
        return row @ matrix

    @property
    def _scale(self) -> Tensor:
        return self.sharpness / math.sqrt(self.nothing_key.shape[2])

    def _parted(self, projected: Tensor) -> Tensor:
        """[R, L, D] -> [R, H, L, d]."""
        parted: Tensor = projected.unflatten(2, (self.heads, -1))  # type: ignore[no-untyped-call]
        return parted.transpose(1, 2)


def normal(vectors: Tensor) -> Tensor:
    """Each of mean square 1, and 0 where it is 0."""
    return vectors * torch.rsqrt(vectors.square().mean(dim=-1, keepdim=True) + _EPSILON)
