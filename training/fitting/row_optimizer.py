"""Embedding tables updated by the rows that a step touched, whatever the tables' size.

AdamW, row by row, with torch's own fused kernel: a row that every step touches moves exactly as under dense
updates. Between two steps that touch it a row rests: its moments wait (dense updates let them fade, and let
the row drift on with them), while its weight decay and its share in the average of the weights are made up
for when it is next read. Knows nothing about losses, batches or epochs.

Shapes: R rows of all tables of one width, W that width, n looked-up ids of a step, U distinct ones of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw as adamw_kernel
from torch.utils.hooks import RemovableHandle

_BETAS = (0.9, 0.999)
_EPS = 1e-8


class RowAdamW:
    """AdamW over the rows of embedding tables, each of which is made to give sparse gradients.

    Tables of one width and decay are moved into one block of memory, so that each takes part in one update;
    their parameters remain, as views of it.

    Args:
        tables: embeddings and the decoupled weight decay of each.
        averaged: the same tables in the network that keeps the average of the weights, if there is one.
        rates: learning rate of every step of the training.
        shares: share of the average that stays in every step; empty without an average.
    """

    def __init__(
        self,
        tables: Sequence[tuple[nn.Embedding, float]],
        averaged: Sequence[nn.Embedding],
        rates: Sequence[float],
        shares: Sequence[float],
    ) -> None:
        grouped: dict[tuple[int, float], list[int]] = {}
        for place, (table, decay) in enumerate(tables):
            grouped.setdefault((table.embedding_dim, decay), []).append(place)
        self._blocks = [
            _Block(
                [tables[place][0] for place in places],
                [averaged[place] for place in places] if averaged else [],
                decay,
                rates,
                shares,
            )
            for (_, decay), places in grouped.items()
        ]

    def gather(self) -> list[Tensor]:
        """The step's gradients, one row for each distinct id: [U, W] by block, to be clipped in place."""
        return [block.gather() for block in self._blocks]

    def step(self) -> None:
        """Move the rows that were gathered."""
        for block in self._blocks:
            block.step()

    def catch_up(self) -> None:
        """Bring all rows up to date, before they are judged or kept."""
        for block in self._blocks:
            block.catch_up()

    def release(self) -> None:
        """Leave the tables as they were found, with their new weights."""
        for block in self._blocks:
            block.release()

    def state_dict(self) -> dict[str, Any]:
        """For `load_state_dict`; the tables themselves are part of the networks' states."""
        return {"blocks": [block.state_dict() for block in self._blocks]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to where a state was taken."""
        for block, kept in zip(self._blocks, state["blocks"], strict=True):
            block.load_state_dict(kept)


class _Block:
    """Tables of one width and one decay, end to end."""

    def __init__(
        self,
        tables: Sequence[nn.Embedding],
        averaged: Sequence[nn.Embedding],
        decay: float,
        rates: Sequence[float],
        shares: Sequence[float],
    ) -> None:
        self._tables = list(tables)
        self._decay, self._rates = decay, rates
        self._values = _joined(self._tables)  # [R, W]
        self._average = _joined(averaged) if averaged else None  # [R, W]
        self._shares = shares
        device = self._values.device
        self._moments = [torch.zeros_like(self._values), torch.zeros_like(self._values)]
        # Logarithms of what remains of a row's weights, and of a row's average, after so many steps.
        self._kept = _sums((math.log(max(1.0 - rate * decay, 1e-30)) for rate in rates), device)
        self._stayed = _sums((math.log(share) if share > 0.0 else -math.inf for share in shares), device)
        self._read = torch.zeros(len(self._values), dtype=torch.int64, device=device)
        self._averaged = self._read.clone() if averaged else self._read[:0]
        self._done = 0
        self._rows, self._gradient = self._read[:0], self._values[:0]
        self._hooks = list[RemovableHandle]()
        begin = 0
        for table in self._tables:
            table.sparse = True
            if decay > 0.0:
                self._hooks.append(table.register_forward_pre_hook(_Reading(self, begin)))
            begin += table.num_embeddings

    def read(self, rows: Tensor) -> None:
        """Make up for the decay of rows that are about to be read, [n], repeated ones too."""
        late = (self._kept[self._done] - self._kept.index_select(0, self._read.index_select(0, rows))).exp()
        values = self._values.index_select(0, rows).mul_(late.float().unsqueeze(1))
        # A repeated row is written repeatedly, each time the same.
        self._values.index_copy_(0, rows, values)
        self._read.index_fill_(0, rows, self._done)

    def gather(self) -> Tensor:
        ids, values, begin = [], [], 0
        for table in self._tables:
            gradient = table.weight.grad
            if gradient is not None:
                ids.append(gradient._indices()[0] + begin)
                values.append(gradient._values())
                table.weight.grad = None
            begin += table.num_embeddings
        if not ids:
            self._rows, self._gradient = self._read[:0], self._values[:0]
            return self._gradient
        self._rows, inverse = torch.unique(torch.cat(ids), return_inverse=True)  # [U], [n]
        self._gradient = self._values.new_zeros((len(self._rows), self._values.shape[1]))
        self._gradient.index_add_(0, inverse, torch.cat(values))
        return self._gradient

    def step(self) -> None:
        rows, rate = self._rows, self._rates[self._done]
        if len(rows):
            values = self._values.index_select(0, rows)
            if self._average is not None:
                average = self._average.index_select(0, rows)
                average.lerp_(values, 1.0 - self._remaining(rows))
            moments = [moment.index_select(0, rows) for moment in self._moments]
            adamw_kernel(
                [values],
                [self._gradient],
                [moments[0]],
                [moments[1]],
                [],
                [torch.tensor(float(self._done), device=values.device)],
                fused=True,
                amsgrad=False,
                beta1=_BETAS[0],
                beta2=_BETAS[1],
                lr=rate,
                weight_decay=self._decay,
                eps=_EPS,
                maximize=False,
            )
            self._values.index_copy_(0, rows, values)
            self._read.index_fill_(0, rows, self._done + 1)
            for moment, moved in zip(self._moments, moments, strict=True):
                moment.index_copy_(0, rows, moved)
            if self._average is not None:
                average.lerp_(values, 1.0 - self._shares[self._done])
                self._average.index_copy_(0, rows, average)
                self._averaged.index_fill_(0, rows, self._done + 1)
        self._done += 1
        self._rows, self._gradient = rows[:0], self._values[:0]

    def _remaining(self, rows: Tensor | slice) -> Tensor:
        """What remains of the average after the steps that rows were not part of: [U, 1]."""
        return (self._stayed[self._done] - self._stayed[self._averaged[rows]]).exp().float().unsqueeze(1)

    def catch_up(self) -> None:
        if self._decay > 0.0:
            late = (self._kept[self._done] - self._kept[self._read]).exp().float()
            self._values.mul_(late.unsqueeze(1))
        self._read.fill_(self._done)
        if self._average is not None:
            self._average.lerp_(self._values, 1.0 - self._remaining(slice(None)))
            self._averaged.fill_(self._done)

    def release(self) -> None:
        for table in self._tables:
            table.sparse = False
        for hook in self._hooks:
            hook.remove()

    def state_dict(self) -> dict[str, Any]:
        return {
            "done": self._done,
            "moments": self._moments,
            "read": self._read,
            "averaged": self._averaged,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._done = state["done"]
        for mine, kept in (
            *zip(self._moments, state["moments"], strict=True),
            (self._read, state["read"]),
            (self._averaged, state["averaged"]),
        ):
            mine.copy_(kept)


class _Reading:
    """Tells a block which rows a table's forward pass is about to read."""

    def __init__(self, block: _Block, begin: int) -> None:
        self._block = block
        self._begin = begin

    def __call__(self, table: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if table.training:
            self._block.read(arguments[0].reshape(-1) + self._begin)


def _joined(tables: Sequence[nn.Embedding]) -> Tensor:
    """The tables' weights end to end, [R, W]; the parameters become views of it."""
    block = torch.cat([table.weight.detach() for table in tables])
    begin = 0
    for table in tables:
        table.weight.data = block[begin : begin + table.num_embeddings]
        begin += table.num_embeddings
    return block


def _sums(logarithms: Iterable[float], device: torch.device) -> Tensor:
    """Sums of the first 0, 1, 2, ... of them."""
    return torch.tensor([0.0, *logarithms], dtype=torch.float64, device=device).cumsum(0)
