"""Encoding: raw values to arrays, the same in training, publishing and serving."""

from model.encoding.categories import (
    FIRST_KNOWN,
    MISSING,
    UNKNOWN,
    CategoricalEncoder,
    ListEncoder,
    canonical,
)
from model.encoding.columns import Column, ListColumn
from model.encoding.encoding import EncodedRows, Encoder, FeatureEncoder, SideEncoder
from model.encoding.numbers import CLIP, NumericEncoder

__all__ = [
    "CLIP",
    "FIRST_KNOWN",
    "MISSING",
    "UNKNOWN",
    "CategoricalEncoder",
    "Column",
    "EncodedRows",
    "Encoder",
    "FeatureEncoder",
    "ListColumn",
    "ListEncoder",
    "NumericEncoder",
    "SideEncoder",
    "canonical",
]
