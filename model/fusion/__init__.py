"""Score fusion: the config, the formula, the order. Pure NumPy; knows neither networks nor requests."""

from model.fusion.bounds import MAX_BYTES
from model.fusion.config import (
    DEFAULT_SCENE,
    FusionConfig,
    SceneConfig,
    TaskTerm,
    canonical_json,
    check_tasks,
    default_fusion,
    load_fusion,
    parse_fusion,
    version,
)
from model.fusion.errors import FusionError
from model.fusion.formula import Explanation, Fused, LengthPart, TaskPart, explain, score
from model.fusion.lengths import LengthFactor, duration_factor
from model.fusion.order import top_k

__all__ = [
    "DEFAULT_SCENE",
    "MAX_BYTES",
    "Explanation",
    "Fused",
    "FusionConfig",
    "FusionError",
    "LengthFactor",
    "LengthPart",
    "SceneConfig",
    "TaskPart",
    "TaskTerm",
    "canonical_json",
    "check_tasks",
    "default_fusion",
    "duration_factor",
    "explain",
    "load_fusion",
    "parse_fusion",
    "score",
    "top_k",
    "version",
]
