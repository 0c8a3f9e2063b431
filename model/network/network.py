"""The ranking network: features of both sides in, one prediction per candidate and task out.

Joins the input layers, a trunk and the heads. Knows nothing about raw data, training or serving.

Shapes: R requests (one user each), N candidates of all requests, Fc id columns, Fn numeric columns, T tasks,
C output columns of all tasks, A of auxiliary outputs, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.network.config import TrunkConfig
from model.network.embedding import EmbeddingTables, FeatureEmbedding, FieldSpec, SideSpec
from model.network.heads import TaskHead, predictions
from model.network.layers.attention import TargetAttention
from model.network.thresholds import Thresholds
from model.network.trunk import Trunk
from model.network.trunks import build_trunk


class RankingNetwork(nn.Module):
    """Input layers, trunk and heads. `forward` is what serving exports; training takes `logits`.

    Attributes:
        tables: the embeddings of both sides.
        user, item: the input layers.
        attended, attentions: the user's fields that each candidate weighs, and how, as `of_NAME`.
        width: D, of the trunk's input: `user.width` + `item.width` + the widths of the attended fields.
        parts: widths of the features that stand side by side in it, in their order.
        trunk: x [N, D] -> tower outputs of T tasks, and any auxiliary ones.
        heads: the tasks; the columns of every [N, T] here are in their order.
        base: what is added to the towers' outputs, one each: a trainer sets it to the labels' mean rates, so
            that rare tasks do not spend their first steps on finding them.
    """

    def __init__(
        self,
        tables: EmbeddingTables,
        user: FeatureEmbedding,
        item: FeatureEmbedding,
        trunk: Trunk,
        heads: Sequence[TaskHead],
    ) -> None:
        super().__init__()
        self.tables = tables
        self.user = user
        self.item = item
        self.trunk = trunk
        self.attended = _attended(user.spec)
        self.attentions = nn.ModuleDict(
            {
                f"of_{field.name}": TargetAttention(field.table.width, field.columns, field.heads)
                for field in self.attended
            }
        )
        self.parts = _parts(user, item)
        self.width = sum(self.parts)
        self.heads = tuple(heads)
        outputs = sum(head.columns for head in self.heads) + trunk.auxiliary
        self.register_buffer("base", torch.zeros(outputs))
        self.base: Tensor
        self.thresholds = nn.ModuleDict(
            {f"of_{head.name}": Thresholds(head.ordinal) for head in self.heads if head.ordinal is not None}
        )

    def inputs(
        self,
        user_ids: Tensor,
        user_numeric: Tensor,
        item_ids: Tensor,
        item_numeric: Tensor,
        row_to_user: Tensor,
    ) -> Tensor:
        """The trunk's input x [N, D]: the user's vector, made once per request, then each candidate's own.

        That is the item's vector and the user's histories as the item sees them.

        The order is a contract: with the user first, a first layer W x splits into W_user u once per request
        and W_item i per candidate.
        """
        of_user = self.user.look_up(self.tables, user_ids)
        of_item = self.item.look_up(self.tables, item_ids)
        user = self.user(of_user, user_numeric)  # [R, D_user]
        item = self.item(of_item, item_numeric)  # [N, D_item]
        parts = [user.index_select(0, row_to_user), item]
        present = {
            field.name: span != 0
            for field, span in zip(self.user.spec.fields, self.user.spans(user_ids), strict=True)
        }
        for field in self.attended:
            query, attention = of_item[field.query or ""], self.attentions[f"of_{field.name}"]
            seen = attention(query, of_user[field.name], present[field.name], row_to_user)  # [N, D_field]
            parts.append(self.user.dropout(seen))
        return torch.cat(parts, dim=-1)  # [N, D]

    def logits(
        self,
        user_ids: Tensor,
        user_numeric: Tensor,
        item_ids: Tensor,
        item_numeric: Tensor,
        row_to_user: Tensor,
        precision: torch.dtype | None = None,
    ) -> Tensor:
        """Raw tower outputs [N, C + A], for `loss`. Takes what `predictions` takes.

        Behind those of an ordinal head stand its thresholds for the row, which so count among C.

        With a `precision`, the trunk calculates in it; parameters and outputs stay in their own.
        """
        x = self.inputs(user_ids, user_numeric, item_ids, item_numeric, row_to_user)
        x = x if precision is None else x.to(precision)
        outputs = torch.cat(self.trunk(x), dim=1) + self.base
        return self._with_thresholds(outputs, item_numeric) if len(self.thresholds) else outputs

    def _with_thresholds(self, outputs: Tensor, item_numeric: Tensor) -> Tensor:
        widths = [head.columns for head in self.heads]
        rest = outputs.shape[1] - sum(widths)
        *columns, auxiliary = torch.split(outputs, [*widths, rest], dim=1)
        parts = []
        for head, column in zip(self.heads, columns, strict=True):
            parts.append(column)
            if head.ordinal is not None:
                parts.append(self.thresholds[f"of_{head.name}"](item_numeric))
        return torch.cat([*parts, auxiliary], dim=1)

    def loss(self, outputs: Tensor, labels: Tensor, mask: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The joint loss of `logits` as the trunk has it: the total, and each task's own [T].

        Args:
            outputs: [N, C + A].
            labels, mask: [N, T], as `losses.joint_loss` takes them.
            weights: of the tasks, [T].
        """
        return self.trunk.loss(outputs, labels, mask, self.heads, weights)

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
    config: TrunkConfig, *, user: SideSpec, item: SideSpec, tasks: Sequence[TaskHead]
) -> RankingNetwork:
    """Make the network that a config describes, freshly initialised from torch's global generator.

    Raises:
        ValueError: no tasks, two of one name, no features at all, a table of no rows or width, or a config
            that does not fit the tasks.
    """
    names = [task.name for task in tasks]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"a network needs tasks of distinct names; got {', '.join(names) or 'none'}")
    tables = EmbeddingTables(
        [field.table for spec in (user, item) for field in spec.fields], id_dropout=config.id_dropout
    )
    layers = [FeatureEmbedding(spec, dropout=config.embedding_dropout) for spec in (user, item)]
    queries = {field.name for field in item.fields}
    for field in _attended(user):
        if field.query not in queries:
            raise ValueError(f"field {field.name!r}: its query {field.query!r} is no item field")
    parts = _parts(*layers)
    if not parts:
        raise ValueError("a network needs features; neither the user nor the item side has any")
    trunk = build_trunk(config, fields=parts, tasks=tasks)
    return RankingNetwork(tables, layers[0], layers[1], trunk, tasks)


def _parts(user: FeatureEmbedding, item: FeatureEmbedding) -> tuple[int, ...]:
    """Widths of the features in the trunk's input: the user's, the item's, the histories the item sees."""
    return (*user.parts, *item.parts, *(field.table.width for field in _attended(user.spec)))


def _attended(spec: SideSpec) -> tuple[FieldSpec, ...]:
    return tuple(field for field in spec.fields if field.pool == "attention")
