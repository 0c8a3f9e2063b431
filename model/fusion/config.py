"""The fusion config: per scene, a formula with its weights and the kind of the video-length factor.

Validates at the edge, so that everything past `parse_fusion` is finite, in bounds and immutable by intent.
Does not know which tasks a bundle has (`check_tasks` is told), how scores are computed, or who serves what.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from model.document import read_document, read_text
from model.errors import FulcrumError, checked, dotted, listed, printable, shown
from model.frozen import Frozen
from model.fusion.bounds import MAX_BYTES
from model.fusion.errors import FusionError
from model.fusion.formulas.learned import LearnedFormula
from model.fusion.formulas.log_power import LogPower, TaskTerm
from model.fusion.formulas.rank_ensemble import RankEnsemble
from model.fusion.formulas.weighted_sum import WeightedSum
from model.fusion.inheritance import resolved
from model.fusion.names import DEFAULT_SCENE, Name

Scene = Annotated[LogPower | WeightedSum | RankEnsemble | LearnedFormula, Field(discriminator="formula")]
"""What a scene may be."""


def _version_number(value: object) -> object:
    if isinstance(value, bool) or value != 1:
        raise ValueError(f"version {shown(value)} is not known; this program reads version 1")
    return 1


class FusionConfig(Frozen):
    """One version of the fusion: what `parse_fusion` gives and `version` names."""

    schema_version: Annotated[Literal[1], BeforeValidator(_version_number)]
    scenes: dict[Name, Scene]

    @field_validator("scenes")
    @classmethod
    def _has_default(cls, scenes: dict[str, Scene]) -> dict[str, Scene]:
        if DEFAULT_SCENE not in scenes:
            found = listed(list(scenes))
            raise ValueError(
                f"no scene named {DEFAULT_SCENE}, which unknown scenes fall back to; found {found}"
            )
        for name, scene in scenes.items():
            if isinstance(scene, LearnedFormula) and not isinstance(scenes.get(scene.fallback), LogPower):
                raise ValueError(
                    f"{dotted((name, 'fallback'))}: no log_power scene is named {shown(scene.fallback)}; "
                    f"found {listed(list(scenes))}"
                )
        return scenes

    def scene(self, name: str) -> tuple[Scene, bool]:
        """The scene of that name and True; or the default scene and False, if there is none."""
        known = name in self.scenes
        return self.scenes[name if known else DEFAULT_SCENE], known


def load_fusion(path: str | Path) -> FusionConfig:
    """Read a YAML or JSON file, UTF-8, at most MAX_BYTES. Raises FusionError, with the path in front."""
    try:
        text = read_text(Path(path), MAX_BYTES)
    except FulcrumError as error:
        raise FusionError(f"{_titled(path)}{error}") from None
    return parse_fusion(text, source=path)


def parse_fusion(text: str, source: str | Path | None = None) -> FusionConfig:
    """The config that a YAML or JSON text declares; `source` names the text in errors. Raises FusionError."""
    try:
        document = read_document(text, MAX_BYTES)
        if document is None:
            raise FusionError("empty; expected a mapping with schema_version and scenes")
    except FulcrumError as error:
        raise FusionError(f"{_titled(source)}{error}") from None
    return fusion_of(document, source)


def fusion_of(document: object, source: str | Path | None = None) -> FusionConfig:
    """The config of a document that has been read already, as of JSON; `source` as above.

    Raises:
        FusionError: it is no config; names the path of what is wrong.
    """
    try:
        if not isinstance(document, dict):
            found = shown(document)
            raise FusionError(
                f"found {found} at the top level; expected a mapping with schema_version and scenes"
            )
        return checked(FusionConfig, resolved(document))
    except FulcrumError as error:
        raise FusionError(f"{_titled(source)}{error}") from None


SMOOTHING = 0.5
"""Of the default fusion, in units of a task's mean: docs/fusion.md has what other values give."""


def default_fusion(task_names: Iterable[str], means: Mapping[str, float] | None = None) -> FusionConfig:
    """Weight 1 for each task, no video length: the product of the predictions, smoothed by their means.

    Without smoothing, a prediction near 0 sinks a candidate whatever else it has, and a rare behaviour, whose
    predictions differ by the largest factors, counts most.

    Args:
        task_names: of the bundle.
        means: mean label by task; `SMOOTHING` times it, in two digits, is the smoothing. A task that is not
            named or whose mean is not above 0 has none; predictions are 1 at most, and so is what counts of
            a mean.
    """
    tasks = {}
    for name in task_names:
        mean = (means or {}).get(name, 0.0)
        smoothing = float(f"{SMOOTHING * min(mean, 1.0):.2g}") if mean > 0.0 else 0.0
        tasks[name] = TaskTerm(weight=1.0, smoothing=smoothing)
    return FusionConfig(schema_version=1, scenes={DEFAULT_SCENE: LogPower(tasks=tasks)})


def check_tasks(config: FusionConfig, task_names: Sequence[str], source: str | Path | None = None) -> None:
    """Raise FusionError if a scene names a task that is not among `task_names`, the bundle's."""
    for scene_name, scene in config.scenes.items():
        named: list[tuple[tuple[str, ...], Iterable[str]]] = [
            (("inputs" if isinstance(scene, LearnedFormula) else "tasks",), scene.tasks),
            (("calibration",), scene.calibration or ()),
            *((("segments", each.name, "tasks"), each.tasks) for each in scene.segmented),
        ]
        for where, tasks in named:
            unknown = next((task for task in tasks if task not in task_names), None)
            if unknown is not None:
                raise FusionError(
                    f"{_titled(source)}unknown task {shown(unknown)} in "
                    f"{dotted(('scenes', scene_name, *where))}; the bundle has {listed(task_names)}"
                )


def check_conditions(
    config: FusionConfig, features: Collection[str], source: str | Path | None = None
) -> None:
    """Raise FusionError if a condition looks at what is not among `features`, which a request may say."""
    for scene_name, scene in config.scenes.items():
        for name in sorted(scene.names_of_conditions()):
            if name not in features:
                where = dotted(("scenes", scene_name))
                raise FusionError(
                    f"{_titled(source)}a condition in {where} looks at {shown(name)}; "
                    f"a request may say {listed(features)}"
                )


def canonical_json(config: FusionConfig) -> bytes:
    """One spelling for one meaning, as JSON that parses back: defaults filled in, floats, keys sorted."""
    filled_in = config.model_dump(mode="json", exclude_none=True)  # a new option changes no old config's hash
    text = json.dumps(filled_in, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def version(config: FusionConfig) -> str:
    """`sha256:<hex>` of the canonical form: the name under which responses report this config."""
    return f"sha256:{hashlib.sha256(canonical_json(config)).hexdigest()}"


def _titled(source: str | Path | None) -> str:
    return "fusion config: " if source is None else f"{printable(str(source))}: fusion config: "
