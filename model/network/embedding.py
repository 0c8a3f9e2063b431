"""The embedding tables and the input layer of one side (user or item): encoded ids and numbers in, one vector
per row out.

Knows nothing about raw values: ids arrive encoded, with 0 for a missing value and 1 for one never seen.

Shapes: B rows (requests on the user side, candidates on the item side), F fields (of L id columns each, Fc in
all), Fn numeric columns, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from model.network.layers.dropout import Dropout

# Large enough for gates to tell values apart from the first steps on, and small beside standardised numeric
# features. Entities are met rarely: theirs start nearer to neutral, and stay there until something is known.
INITIAL_STD = 0.05
INITIAL_ENTITY_STD = 0.01

Pool = Literal["mean", "sum", "max", "attention"]


@dataclass(frozen=True)
class EmbeddingSpec:
    """An embedding table."""

    name: str
    """Fields whose tables have one name share one table."""
    rows: int
    """Rows, counting missing (0) and unknown (1), so the largest id is one less."""
    width: int
    """Embedding width."""
    entity: bool = False
    """Whether its rows stand for entities (users, videos), which are many and each rarely met."""


@dataclass(frozen=True)
class FieldSpec:
    """One feature's id columns: a value, or several side by side, padded with missing ones at the end."""

    name: str
    """Its name among the fields of its side."""
    table: EmbeddingSpec
    """Where its embeddings lie."""
    values: int | None = None
    """Id columns of a list of values; None for a single value."""
    pool: Pool = "mean"
    """How the embeddings of a list become one."""
    query: str | None = None
    """Attention: the item field whose embedding weighs the values."""
    heads: int = 1
    """Attention: heads that part the width."""

    @property
    def columns(self) -> int:
        """Id columns."""
        return 1 if self.values is None else self.values


@dataclass(frozen=True)
class SideSpec:
    """The encoded features of one side, user or item."""

    fields: tuple[FieldSpec, ...] = ()
    """In the order of their id columns."""
    numeric: int = 0
    """Numeric columns."""

    @property
    def id_columns(self) -> int:
        """Id columns of all fields."""
        return sum(field.columns for field in self.fields)


class EmbeddingTables(nn.Module):
    """All tables of a network, each once, looked up by name: ids int64 [...] -> [..., D].

    Tables start from a normal distribution of mean 0 and deviation `INITIAL_STD`, those of entities of
    `INITIAL_ENTITY_STD`; but the rows of missing and unknown ids start at zero and are learned like any
    other, so that a value that training never met says nothing.

    Args:
        specs: of the tables; those of one name are one.
        id_dropout: share of entity ids taken as unknown in training, so that the network does not lean on
            them alone and the unknown row is learned.

    Raises:
        ValueError: a size is not positive, or specs of one name differ.
    """

    def __init__(self, specs: Sequence[EmbeddingSpec], *, id_dropout: float = 0.0) -> None:
        super().__init__()
        self.specs: dict[str, EmbeddingSpec] = {}
        for spec in specs:
            if spec.rows < 1 or spec.width < 1:
                raise ValueError(f"table {spec.name!r}: rows and width must be at least 1; got {spec}")
            if self.specs.setdefault(spec.name, spec) != spec:
                raise ValueError(f"two tables are named {spec.name!r}: {self.specs[spec.name]} and {spec}")
        self._place = {name: place for place, name in enumerate(self.specs)}
        self.tables = nn.ModuleList(nn.Embedding(spec.rows, spec.width) for spec in self.specs.values())
        for spec in self.specs.values():
            weight = self.weight(spec.name)
            nn.init.normal_(weight, std=INITIAL_ENTITY_STD if spec.entity else INITIAL_STD)
            nn.init.zeros_(weight[:2])
        self.id_dropout = id_dropout

    def weight(self, name: str) -> nn.Parameter:
        """A table: [rows, D]."""
        table: nn.Parameter = self.tables[self._place[name]].weight  # type: ignore[assignment]
        return table

    def entity_weights(self) -> list[nn.Parameter]:
        """The entities' tables, which a trainer may decay by themselves."""
        return [self.weight(spec.name) for spec in self.specs.values() if spec.entity]

    def forward(self, name: str, ids: Tensor) -> Tensor:
        """Look up: ids int64 [...] -> [..., D]."""
        if self.specs[name].entity:
            ids = self._unknown_at_times(ids)
        found: Tensor = self.tables[self._place[name]](ids)
        return found

    def _unknown_at_times(self, ids: Tensor) -> Tensor:
        """A share of the known ids as 1, unknown. In evaluation the ids as they are."""
        if not self.training or self.id_dropout == 0.0:
            return ids
        taken = (torch.rand(ids.shape, device=ids.device) < self.id_dropout) & (ids > 1)
        return ids.masked_fill(taken, 1)


class FeatureEmbedding(nn.Module):
    """ids int64 [B, Fc] and numeric float32 [B, Fn] -> [B, D], D = the fields' widths + numeric.

    Field by field, in order, then the numeric columns as they are. A list is pooled to one embedding; an
    empty one is that of a missing value. Fields with attention are not part of the vector: the network, which
    knows the candidates, makes theirs. Either kind of feature may be absent (Fc = 0 or Fn = 0): its array has
    no columns then.

    Args:
        spec: the side's features.
        dropout: share of embedding units dropped in training; numeric columns are kept.

    Raises:
        ValueError: the number of numeric columns is negative.
    """

    def __init__(self, spec: SideSpec, *, dropout: float = 0.0) -> None:
        super().__init__()
        if spec.numeric < 0:
            raise ValueError(f"numeric must be at least 0; got {spec.numeric}")
        self.spec = spec
        self.dropout = Dropout(dropout)
        self.pooled = tuple(field for field in spec.fields if field.pool != "attention")
        self.parts = (*(field.table.width for field in self.pooled), *[1] * spec.numeric)
        self.width = sum(self.parts)

    def look_up(self, tables: EmbeddingTables, ids: Tensor) -> dict[str, Tensor]:
        """Embeddings by field: [B, D] of a value or a pooled list, [B, L, D] where attention comes later."""
        found = {}
        for field, span in zip(self.spec.fields, self.spans(ids), strict=True):
            values = span.squeeze(1) if field.values is None else span
            embedded = tables(field.table.name, values)
            listed = field.values is not None and field.pool != "attention"
            found[field.name] = pool(field.pool, embedded, span != 0) if listed else embedded
        return found

    def spans(self, ids: Tensor) -> tuple[Tensor, ...]:
        """The id columns of each field, [B, L] each."""
        return (
            torch.split(ids, [field.columns for field in self.spec.fields], dim=1) if self.spec.fields else ()
        )

    def forward(self, found: Mapping[str, Tensor], numeric: Tensor) -> Tensor:
        """Join what was looked up, and the numbers, to one vector a row: [B, D]."""
        if not self.pooled:
            return numeric
        joined = torch.cat([found[field.name] for field in self.pooled], dim=1)
        return torch.cat([self.dropout(joined), numeric], dim=1)


def pool(how: Pool, embedded: Tensor, present: Tensor) -> Tensor:
    """Embeddings of a list to one: [B, L, D] and bool [B, L] -> [B, D].

    Values stand first and padding behind them; the first place counts even where it is empty, so that an
    empty list is the embedding of a missing value.
    """
    counted = torch.cat([torch.ones_like(present[:, :1]), present[:, 1:]], dim=1).unsqueeze(2)  # [B, L, 1]
    if how == "max":
        return embedded.masked_fill(~counted, -torch.inf).amax(dim=1)
    total = (embedded * counted).sum(dim=1)
    return total / counted.sum(dim=1) if how == "mean" else total
