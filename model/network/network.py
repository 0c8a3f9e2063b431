"""The ranking network: features of both sides in, one prediction per candidate and task out.

Joins the input layers, a trunk and the heads. Knows nothing about raw data, training or serving.

A trunk is any module that takes x [N, D] and returns T tower outputs of [N]. A network to come is one file
with such a module, one config in `config`, and one line in `TRUNKS`.

Shapes: R requests (one user each), N candidates of all requests, F features (Fc by id, Fn numeric), T tasks,
D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.network.config import NetworkConfig
from model.network.embedding import FeatureEmbedding
from model.network.heads import TaskHead, predictions
from model.network.ple import PLE

TRUNKS = {"ple": PLE}


@dataclass(frozen=True)
class SideSpec:
    """The encoded features of one side, user or item."""

    cardinalities: tuple[int, ...] = ()
    """Rows of each id column's table, counting missing (0) and unknown (1)."""
    widths: tuple[int, ...] = ()
    """Embedding width of each id column."""
    numeric: int = 0
    """Numeric columns."""
    entities: tuple[bool, ...] = ()
    """Which id columns name entities (users, videos); none where empty."""


class RankingNetwork(nn.Module):
    """Input layers, trunk and heads. `forward` is what serving exports; training takes `logits`.

    Attributes:
        user, item: the input layers; `user.width` + `item.width` = D.
        trunk: x [N, D] -> T of [N].
        heads: the tasks; the columns of every [N, T] here are in their order.
        base: what is added to the towers' outputs, [T]: a trainer sets it to the labels' mean rates, so that
            rare tasks do not spend their first steps on finding them.
    """

    def __init__(
        self, user: FeatureEmbedding, item: FeatureEmbedding, trunk: nn.Module, heads: Sequence[TaskHead]
    ) -> None:
        super().__init__()
        self.user = user
        self.item = item
        self.trunk = trunk
        self.heads = tuple(heads)
        self.register_buffer("base", torch.zeros(len(self.heads)))
        self.base: Tensor

    def inputs(
        self,
        user_ids: Tensor,
        user_numeric: Tensor,
        item_ids: Tensor,
        item_numeric: Tensor,
        row_to_user: Tensor,
    ) -> Tensor:
        """The trunk's input x [N, D]: the user's vector, made once per request, then the item's.

        The order is a contract: with the user first, a first layer W x splits into W_user u once per request
        and W_item i per candidate.
        """
        user = self.user(user_ids, user_numeric)  # [R, D_user]
        item = self.item(item_ids, item_numeric)  # [N, D_item]
        return torch.cat([user.index_select(0, row_to_user), item], dim=-1)  # [N, D]

    def logits(
        self,
        user_ids: Tensor,
        user_numeric: Tensor,
        item_ids: Tensor,
        item_numeric: Tensor,
        row_to_user: Tensor,
        precision: torch.dtype | None = None,
    ) -> Tensor:
        """Raw tower outputs [N, T], for `losses.joint_loss`. Takes what `predictions` takes.

        With a `precision`, the trunk calculates in it; parameters and outputs stay in their own.
        """
        x = self.inputs(user_ids, user_numeric, item_ids, item_numeric, row_to_user)
        x = x if precision is None else x.to(precision)
        return torch.stack(self.trunk(x), dim=1) + self.base

    def predictions(
        self,
        user_ids: Tensor,
        user_numeric: Tensor,
        item_ids: Tensor,
        item_numeric: Tensor,
        row_to_user: Tensor,
    ) -> Tensor:
        """Probabilities and bounded values [N, T]. A row depends on its user and itself alone.

        Args:
            user_ids: int64 [R, Fc of the user], encoded.
            user_numeric: float32 [R, Fn of the user], transformed.
            item_ids: int64 [N, Fc of the item].
            item_numeric: float32 [N, Fn of the item].
            row_to_user: int64 [N], which of the R rows each candidate belongs to.
        """
        return predictions(
            self.heads, self.logits(user_ids, user_numeric, item_ids, item_numeric, row_to_user)
        )

    def forward(
        self,
        user_ids: Tensor,
        user_numeric: Tensor,
        item_ids: Tensor,
        item_numeric: Tensor,
        row_to_user: Tensor,
    ) -> Tensor:
        """The same as `predictions`, which says more."""
        return self.predictions(user_ids, user_numeric, item_ids, item_numeric, row_to_user)


def build_network(
    config: NetworkConfig, *, user: SideSpec, item: SideSpec, tasks: Sequence[TaskHead]
) -> RankingNetwork:
    """Make the network that a config describes, freshly initialised from torch's global generator.

    Raises:
        ValueError: no tasks, two of one name, no features at all, a table of no rows or width, or a config
            that does not fit the tasks.
    """
    names = [task.name for task in tasks]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"a network needs tasks of distinct names; got {', '.join(names) or 'none'}")
    sides = [
        FeatureEmbedding(
            spec.cardinalities,
            spec.widths,
            spec.numeric,
            entities=spec.entities,
            dropout=config.embedding_dropout,
            id_dropout=config.id_dropout,
        )
        for spec in (user, item)
    ]
    inputs = sum(side.width for side in sides)
    if inputs == 0:
        raise ValueError("a network needs features; neither the user nor the item side has any")
    trunk = TRUNKS[config.model](config, inputs=inputs, tasks=names)
    return RankingNetwork(sides[0], sides[1], trunk, tasks)
