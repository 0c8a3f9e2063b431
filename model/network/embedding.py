"""The input layer of one side (user or item): encoded ids and numbers in, one vector per row out.

Knows nothing about raw values: ids arrive encoded, with 0 for a missing value and 1 for one never seen.

Shapes: B rows (requests on the user side, candidates on the item side), F features (Fc by id, Fn numeric),
D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# Large enough for gates to tell ids apart from the first steps on, and small beside standardised numeric
# features, so that an id met rarely starts, and stays, near neutral.
INITIAL_STD = 0.05


class FeatureEmbedding(nn.Module):
    """ids int64 [B, Fc] and numeric float32 [B, Fn] -> [B, D], where D = sum(widths) + numeric.

    One table per id column, in order, then the numeric columns as they are. Tables start from a normal
    distribution of mean 0 and standard deviation `INITIAL_STD`, but for the rows of missing and unknown ids:
    those start at zero and are learned like any other, so that a value that training never met says nothing.
    Either kind of feature may be absent (Fc = 0 or Fn = 0): its array has no columns then.

    Args:
        cardinalities: rows of each table, counting missing and unknown, so the largest id is one less.
        widths: width of each table.
        numeric: numeric columns Fn.
        dropout: share of embedding units dropped in training; numeric columns are kept.

    Raises:
        ValueError: `cardinalities` and `widths` differ in length, or a size is not positive.
    """

    def __init__(
        self, cardinalities: Sequence[int], widths: Sequence[int], numeric: int, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if len(cardinalities) != len(widths):
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
        for table in self.tables:
            nn.init.normal_(table.weight, std=INITIAL_STD)  # type: ignore[arg-type]
            nn.init.zeros_(table.weight[:2])  # type: ignore[index]
        self.dropout = nn.Dropout(dropout)
        self.numeric = numeric
        self.width = sum(widths) + numeric

    def forward(self, ids: Tensor, numeric: Tensor) -> Tensor:
        """Look up and join: ids int64 [B, Fc], numeric float32 [B, Fn] -> [B, D]."""
        if not self.tables:
            return numeric
        looked_up = [table(column) for table, column in zip(self.tables, ids.unbind(1), strict=True)]
        return torch.cat([self.dropout(torch.cat(looked_up, dim=1)), numeric], dim=1)
