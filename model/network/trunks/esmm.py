"""ESMM: tasks of a sample space are learned on all rows, as products with the chance of entering the space.

After Ma et al., "Entire Space Multi-Task Model: An Effective Approach for Estimating Post-Click Conversion
Rate", SIGIR 2018. A conversion is defined where there was a click, so a network that learns it from clicks
alone is asked, when it serves, about rows of a kind it has not seen. The paper has pCTCVR = pCTR * pCVR
(equation 1) and learns from clicks and from clicks with conversion, both of which every row knows (equation
2); pCVR itself has no loss of its own, and is what is served.

Here the click is whatever a task's `space` says, the `where` of its recipe, such as "it was played": each
distinct space has an *entry*, an auxiliary output that only the loss reads. A row is inside a space where the
label of one of its tasks counts, so a row without any known label there counts as outside, even where `where`
holds. A row that is inside by another task, while this one's label is unknown, takes no part in this one.

The product of a binary task is the probability that a row enters and is positive. The product of a regression
is the mean of the value over all rows like this one, where those outside give 0; it may thus lie beneath the
task's lower bound, while the value served, the mean inside, does not.

As in the paper, tasks share the embeddings and nothing else. Outputs mean what they mean in other networks.

Shapes: B rows, D width of the input x, W width of a last layer, T tasks, A spaces.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from model.network.config import LayersConfig
from model.network.heads import TaskHead, columns, prediction
from model.network.layers.mlp import MLP, Tower
from model.network.layers.side_by_side import outputs_of
from model.network.losses import joint_loss
from model.network.trunk import NamedExpert, Trunk


class ESMMConfig(LayersConfig):
    """Settings of ESMM. `expert` is each task's own network, and each entry's, before its tower."""

    model: Literal["esmm"] = "esmm"
    entry_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of each entry's loss in the total. A task's `weight` is its product's."""


class ESMM(Trunk, config=ESMMConfig):
    """x [B, D] -> T tower outputs in the order of `tasks`, [B, columns] each, then A entry logits [B, 1]."""

    def __init__(self, config: ESMMConfig, *, fields: Sequence[int], tasks: Sequence[TaskHead]) -> None:
        super().__init__(config, fields=fields, tasks=tasks)
        self.spaces = tuple(dict.fromkeys(task.space for task in tasks if task.space is not None))
        self.auxiliary = len(self.spaces)
        self.entry_weight = config.entry_weight
        self.names = (*(task.name for task in tasks), *(f"enters {space}" for space in self.spaces))
        widths = [task.columns for task in tasks] + [1] * self.auxiliary
        self.layers = nn.ModuleList(MLP(sum(fields), config.expert, config.dropout) for _ in widths)
        self.towers = nn.ModuleList(
            Tower(config.expert[-1], config.tower, config.dropout, width) for width in widths
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Let x [B, D] through each task's own layers and tower, then each entry's."""
        hidden = outputs_of(cast(list[MLP], list(self.layers)), x)  # T + A of [B, W]
        return [tower(own) for tower, own in zip(self.towers, hidden, strict=True)]

    def loss(
        self, outputs: Tensor, labels: Tensor, mask: Tensor, heads: Sequence[TaskHead], weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The weighted sum of the tasks' losses and, by `entry_weight`, the entries'; and the tasks' own [T].

        A task of a space has the loss of its product, cross-entropy or squared error, as a mean over all rows
        but those inside whose label is unknown. A task of all rows has the loss of `joint_loss`.
        """
        kept = mask.bool()
        wider = torch.promote_types(outputs.dtype, labels.dtype)
        outputs, labels = outputs.to(wider), labels.to(wider).where(kept, 0.0)
        inside = {
            space: kept[:, [place for place, head in enumerate(heads) if head.space == space]].any(dim=1)
            for space in self.spaces
        }
        entries = dict(
            zip(self.spaces, outputs[:, outputs.shape[1] - self.auxiliary :].unbind(1), strict=True)
        )
        per_task = []
        for place, (head, output) in enumerate(zip(heads, columns(heads, outputs), strict=True)):
            own = slice(place, place + 1)
            if head.space is None:
                _, alone = joint_loss(output, labels[:, own], mask[:, own], [head], weights[own])
                per_task.append(alone[0])
            else:
                known = kept[:, place] | ~inside[head.space]
                rows = _product_loss(head, entries[head.space], output, labels[:, place])  # [B]
                per_task.append(rows.where(known, 0.0).sum() / known.sum().clamp(min=1))
        losses = torch.stack(per_task)  # [T]
        total = (weights * losses).sum()
        for space in self.spaces:
            entered = F.binary_cross_entropy_with_logits(entries[space], inside[space].to(wider))
            total = total + self.entry_weight * entered
        return total, losses

    def experts(self) -> list[NamedExpert]:
        """Each task's own layers, then each entry's."""
        return [NamedExpert(1, f"{name} 1", own) for name, own in zip(self.names, self.layers, strict=True)]


def _product_loss(head: TaskHead, entry: Tensor, output: Tensor, label: Tensor) -> Tensor:
    """Loss of entry times task on each row: [B], [B, columns], [B] -> [B]. The label is 0 outside."""
    if head.kind == "regression":
        return (torch.sigmoid(entry) * prediction(head, output).squeeze(1) - label).square()
    # In logarithms: a product of small chances would round to 0, and 1 less it to 1.
    logit = output.squeeze(1)
    enters, stays = F.logsigmoid(entry), F.logsigmoid(-entry)
    happens = enters + F.logsigmoid(logit)
    fails = torch.logaddexp(stays, enters + F.logsigmoid(-logit))
    return -(label * happens + (1.0 - label) * fails)
