"""The input layer of one side (user or item): encoded ids and numbers in, one vector per row out.

Knows nothing about raw values: ids arrive encoded, with 0 for a missing value and 1 for one never seen.

Shapes: B rows (requests on the user side, candidates on the item side), F features (Fc by id, Fn numeric),
D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.network.dropout import Dropout

# Large enough for gates to tell values apart from the first steps on, and small beside standardised numeric
# features. Entities are met rarely: theirs start nearer to neutral, and stay there until something is known.
INITIAL_STD = 0.05
INITIAL_ENTITY_STD = 0.01


class FeatureEmbedding(nn.Module):
    """ids int64 [B, Fc] and numeric float32 [B, Fn] -> [B, D], where D = sum(widths) + numeric.

    One table per id column, in order, then the numeric columns as they are. Tables start from a normal
    distribution of mean 0 and deviation `INITIAL_STD`, those of entities of `INITIAL_ENTITY_STD`; but
    the rows of missing and unknown ids start at zero and are learned like any other, so that a value that
    training never met says nothing. Either kind of feature may be absent (Fc = 0 or Fn = 0): its array has no
    columns then.

    Args:
        cardinalities: rows of each table, counting missing and unknown, so the largest id is one less.
        widths: width of each table.
        numeric: numeric columns Fn.
        entities: which columns name entities (users, videos), whose many rows are each met rarely; none
            where empty.
        dropout: share of embedding units dropped in training; numeric columns are kept.
        id_dropout: share of entity ids taken as unknown in training, so that the network does not lean on
            them alone and the unknown row is learned.

    Raises:
        ValueError: `cardinalities` and `widths` differ in length, or a size is not positive.
    """

    def __init__(
        self,
        cardinalities: Sequence[int],
        widths: Sequence[int],
        numeric: int,
        *,
        entities: Sequence[bool] = (),
        dropout: float = 0.0,
        id_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.entities = tuple(entities) or (False,) * len(widths)
        if not len(cardinalities) == len(widths) == len(self.entities):
            raise ValueError(
                f"one width per id column expected; got {len(cardinalities)} cardinalities "
                f"and {len(widths)} widths"
            )
        if min([*cardinalities, *widths], default=1) < 1 or numeric < 0:
            raise ValueError(
                "cardinalities and widths must be at least 1 and numeric at least 0; "
                f"got cardinalities {list(cardinalities)}, widths {list(widths)}, numeric {numeric}"
            )
        self.tables = nn.ModuleList(
            nn.Embedding(rows, width) for rows, width in zip(cardinalities, widths, strict=True)
        )
        for table, entity in zip(self.tables, self.entities, strict=True):
            std = INITIAL_ENTITY_STD if entity else INITIAL_STD
            nn.init.normal_(table.weight, std=std)  # type: ignore[arg-type]
            nn.init.zeros_(table.weight[:2])  # type: ignore[index]
        self.dropout = Dropout(dropout)
        self.id_dropout = id_dropout
        self.numeric = numeric
        self.width = sum(widths) + numeric

    def forward(self, ids: Tensor, numeric: Tensor) -> Tensor:
        """Look up and join: ids int64 [B, Fc], numeric float32 [B, Fn] -> [B, D]."""
        if not self.tables:
            return numeric
        columns = [
            self._unknown_at_times(column) if entity else column
            for column, entity in zip(ids.unbind(1), self.entities, strict=True)
        ]
        looked_up = [table(column) for table, column in zip(self.tables, columns, strict=True)]
        return torch.cat([self.dropout(torch.cat(looked_up, dim=1)), numeric], dim=1)

    def _unknown_at_times(self, ids: Tensor) -> Tensor:
        """A share of the known ids as 1, unknown: int64 [B] -> [B]. In evaluation the ids as they are."""
        if not self.training or self.id_dropout == 0.0:
            return ids
        taken = (torch.rand(ids.shape) < self.id_dropout) & (ids > 1)
        return ids.masked_fill(taken, 1)

    def entity_tables(self) -> list[nn.Parameter]:
        """The weights of the entities' tables, which a trainer may decay by themselves."""
        return [
            table.weight  # type: ignore[misc]
            for table, entity in zip(self.tables, self.entities, strict=True)
            if entity
        ]
