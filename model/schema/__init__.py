"""Schema: what a data set means: its columns, features, tasks and the past that is made of it."""

from model.schema.features import (
    CategoricalFeature,
    EmbeddedFeature,
    FeatureSpec,
    ListFeature,
    MultiFeature,
    NumericFeature,
    SequenceFeature,
    Side,
)
from model.schema.past import HistorySpec, PriorSpec
from model.schema.schema import (
    BinaryTask,
    DataSpec,
    LastSplit,
    OrdinalHead,
    RegressionTask,
    RuleSplit,
    Schema,
    TableSpec,
    TaskSpec,
)

__all__ = [
    "BinaryTask",
    "CategoricalFeature",
    "DataSpec",
    "EmbeddedFeature",
    "FeatureSpec",
    "HistorySpec",
    "LastSplit",
    "ListFeature",
    "MultiFeature",
    "NumericFeature",
    "OrdinalHead",
    "PriorSpec",
    "RegressionTask",
    "RuleSplit",
    "Schema",
    "SequenceFeature",
    "Side",
    "TableSpec",
    "TaskSpec",
]
