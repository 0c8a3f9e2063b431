"""What a column means to a ranker: one value with an embedding, several of them, or a number.

Declares features one by one; the schema checks how they refer to each other.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from model.frozen import Frozen, Name
from model.schema.past import MOST_VALUES
from model.schema.transforms import TransformName

Side = Literal["user", "item", "context"]

DEFAULT_WIDTH = 8


class _Feature(Frozen):
    name: Name
    """Name in requests, errors and the manifest."""
    side: Side
    """Whose property it is: the user's and the item's live in the feature store, the context comes with
    the request."""
    column: str | None = None
    """Column of the prepared log; the name where absent."""
    expr: str | None = None
    """Polars SQL over the log's columns, in place of `column`. Requests give its value by `name`."""

    @model_validator(mode="after")
    def _one_source(self) -> _Feature:
        if self.column is not None and self.expr is not None:
            raise ValueError(f"feature {self.name!r} has both column and expr; keep one")
        return self

    @property
    def source(self) -> str:
        """The column that holds the raw value in the prepared frame."""
        return self.column if self.column is not None else self.name


class EmbeddedFeature(_Feature):
    """Values compared as canonical strings, each with a row in an embedding table."""

    width: int | None = Field(default=None, ge=1, le=1024)
    """Embedding width; 8 where absent, or that of the feature whose table it shares."""
    min_count: int = Field(default=1, ge=1)
    """A value seen fewer times in the training split has no row of its own."""
    max_size: int | None = Field(default=None, ge=1)
    """At most so many values have rows of their own, the most frequent."""
    hash_buckets: int | None = Field(default=None, ge=2)
    """Rows that the values without a row of their own share by their hash, in place of the unknown row. All
    values share them, unless min_count or max_size says which are admitted."""
    shares: str | None = None
    """Another feature whose vocabulary and table this one uses."""

    @model_validator(mode="after")
    def _vocabulary_of_its_own_or_shared(self) -> EmbeddedFeature:
        own = (self.min_count > 1, self.max_size is not None, self.hash_buckets is not None)
        if self.shares is not None and any(own):
            raise ValueError(
                f"feature {self.name!r} shares the vocabulary of {self.shares!r}; "
                "give min_count, max_size and hash_buckets there"
            )
        return self

    @property
    def has_vocabulary(self) -> bool:
        """Whether some values have rows of their own; all values are hashed where not."""
        return self.hash_buckets is None or self.min_count > 1 or self.max_size is not None


class CategoricalFeature(EmbeddedFeature):
    """One value a row."""

    kind: Literal["id", "categorical"]
    """`id` for entities (many values, a tail), `categorical` for attributes; encoded alike."""


class ListFeature(EmbeddedFeature):
    """Several values a row: a list, or text with a separator. Missing ones among them are left out."""

    separator: str | None = Field(default=None, min_length=1)
    """What parts values in text; blanks around them do not count. Text is one value where absent."""


class MultiFeature(ListFeature):
    """Several values without an order, as a video's tags."""

    kind: Literal["multi"]
    max_values: int = Field(default=8, ge=1, le=MOST_VALUES)
    """Values kept, the first."""
    pool: Literal["mean", "sum", "max"] = "mean"
    """How their embeddings become one."""


class SequenceFeature(ListFeature):
    """Several values in the order of time, oldest first, as the videos that a user last watched."""

    kind: Literal["sequence"]
    max_values: int = Field(default=50, ge=1, le=MOST_VALUES)
    """Values kept, the last."""
    pool: Literal["mean", "sum", "max", "attention"] = "mean"
    """How their embeddings become one. `attention` weighs them by the candidate, whose own value is that of
    the item feature in `shares` (Zhou et al., KDD 2018)."""
    heads: int = Field(default=1, ge=1, le=64)
    """Attention: ways of weighing side by side, which part the width among them."""

    @model_validator(mode="after")
    def _attention_needs_a_query(self) -> SequenceFeature:
        if self.pool == "attention":
            if self.shares is None:
                raise ValueError(
                    f"feature {self.name!r}: attention compares with the candidate; name in shares the item "
                    "feature that holds its value"
                )
            if self.side == "item":
                raise ValueError(
                    f"feature {self.name!r}: attention weighs what a user or a context brings; an item "
                    "feature takes mean, sum or max"
                )
        elif self.heads > 1:
            raise ValueError(f"feature {self.name!r}: heads are for pool: attention")
        return self


class NumericFeature(_Feature):
    """A number, transformed, standardised on the training split and clipped; missing: mean and a flag."""

    kind: Literal["numeric"]
    transform: TransformName = "none"
    """One of `model.schema.transforms`."""


FeatureSpec = Annotated[
    CategoricalFeature | MultiFeature | SequenceFeature | NumericFeature, Field(discriminator="kind")
]
