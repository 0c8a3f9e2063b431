"""Score fusion: the config, the formula, the order. Pure NumPy; knows neither networks nor requests."""

from model.fusion.bounds import MAX_BYTES
from model.fusion.config import (
    FusionConfig,
    Scene,
    canonical_json,
    check_conditions,
    check_tasks,
    default_fusion,
    fusion_of,
    load_fusion,
    parse_fusion,
    version,
)
from model.fusion.errors import FusionError
from model.fusion.formula import Explanation, Fused, LengthPart, TaskPart, explain, score
from model.fusion.formulas.learned import LearnedFormula, Scorer
from model.fusion.formulas.log_power import LogPower, TaskTerm
from model.fusion.formulas.rank_ensemble import RankEnsemble, RankTerm
from model.fusion.formulas.weighted_sum import PricedTask, WeightedSum
from model.fusion.lengths import LengthFactor, duration_factor
from model.fusion.names import DEFAULT_SCENE
from model.fusion.noise import Explore
from model.fusion.order import top_k
from model.fusion.patches import patched
from model.fusion.scene import SceneConfig

__all__ = [
    "DEFAULT_SCENE",
    "MAX_BYTES",
    "Explanation",
    "Explore",
    "Fused",
    "FusionConfig",
    "FusionError",
    "LearnedFormula",
    "LengthFactor",
    "LengthPart",
    "LogPower",
    "PricedTask",
    "RankEnsemble",
    "RankTerm",
    "Scene",
    "SceneConfig",
    "Scorer",
    "TaskPart",
    "TaskTerm",
    "WeightedSum",
    "canonical_json",
    "check_conditions",
    "check_tasks",
    "default_fusion",
    "duration_factor",
    "explain",
    "fusion_of",
    "load_fusion",
    "parse_fusion",
    "patched",
    "score",
    "top_k",
    "version",
]
