"""What the settings of all networks have in common: the `network:` part of a recipe, checked and frozen.

Each network's own settings stand beside it, in `trunks/`. Knows nothing about torch, features or data. The
tasks are declared elsewhere, so settings given task by task are checked against them only when asked
(`ExtractionConfig.task_experts`), which building a network does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Self, TypeVar

from pydantic import BaseModel, Discriminator, Field, Tag, model_validator

from model.frozen import Frozen

# Strict, so that `shared: yes` is an error and not one expert.
Count = Annotated[int, Field(ge=1, strict=True)]
Widths = Annotated[tuple[Count, ...], Field(min_length=1)]
DropoutRate = Annotated[float, Field(ge=0.0, lt=1.0)]

T = TypeVar("T")


def _one_or_mapping(one: str, mapping: str) -> Discriminator:
    """Choose the branch of a union by shape, so that an error speaks of that branch alone."""
    return Discriminator(lambda value: mapping if isinstance(value, Mapping | BaseModel) else one)


CountPerTask = Annotated[
    Annotated[Count, Tag("every task")] | Annotated[dict[str, Count], Tag("per task")],
    _one_or_mapping("every task", "per task"),
]
WidthsPerTask = Annotated[
    Annotated[Widths, Tag("every task")] | Annotated[dict[str, Widths], Tag("per task")],
    _one_or_mapping("every task", "per task"),
]


class ExpertCounts(Frozen):
    """How many experts each extraction level has."""

    shared: Count = 2
    """Experts that all tasks draw on."""
    task: CountPerTask = 2
    """Experts of one task alone: a count for every task, or a mapping that names each task."""


class ExpertWidths(Frozen):
    """Layer widths of the experts, first to last, where shared and task experts differ."""

    shared: Widths
    """Layers of each shared expert."""
    task: WidthsPerTask
    """Layers of each task expert: for every task, or a mapping that names each task."""


@dataclass(frozen=True)
class ExpertGroup:
    """The experts that belong to one stream (a task, or the shared one) on one level."""

    count: int
    """Experts in the group."""
    widths: tuple[int, ...]
    """Layer widths of each of them, first to last."""


class TrunkConfig(Frozen):
    """What every network can be told. A network's own config adds its `model`, a literal, and the rest."""

    model: str
    """The network's name, which tells configs apart."""
    tower: tuple[Count, ...] = (64,)
    """Hidden widths of each task's tower, before its output. May be empty."""
    dropout: DropoutRate = 0.0
    """Share of units dropped after each hidden layer of experts and towers, in training."""
    embedding_dropout: DropoutRate = 0.0
    """Share of embedding units dropped before the trunk, in training. Numeric features are kept."""
    id_dropout: DropoutRate = 0.0
    """Share of ids (features of kind `id`) taken as unknown, in training."""

    def check_tasks(self, tasks: Sequence[str]) -> None:
        """Hold settings given task by task against the tasks that exist.

        Raises:
            ValueError: a mapping names a task that is not in `tasks`, or leaves one out.
        """


class LayersConfig(TrunkConfig):
    """Settings of networks whose hidden layers are all of one shape, whoever they belong to."""

    expert: Widths = (256, 128)
    """Layer widths between the input and the towers, first to last."""


class MixtureConfig(TrunkConfig):
    """Experts that belong to no task (Ma et al., KDD 2018, section 4)."""

    experts: Count = 8
    """Experts on every level."""
    expert: Widths = (256, 128)
    """Layer widths of each expert, first to last."""


class ExtractionConfig(TrunkConfig):
    """Levels of experts that belong to one task or to all (Tang et al., RecSys 2020, section 4)."""

    experts: ExpertCounts = ExpertCounts()
    """Experts on every level."""
    expert: Annotated[
        Annotated[Widths, Tag("every expert")] | Annotated[ExpertWidths, Tag("by stream")],
        _one_or_mapping("every expert", "by stream"),
    ] = (256, 128)
    """Layer widths of each expert; the last is the width of every fusion, so all experts share it."""

    @model_validator(mode="after")
    def _experts_end_in_one_width(self) -> Self:
        if not isinstance(self.expert, ExpertWidths):
            return self
        last = {"shared": self.expert.shared[-1]}
        if isinstance(self.expert.task, dict):
            last |= {f"task.{name}": widths[-1] for name, widths in self.expert.task.items()}
        else:
            last["task"] = self.expert.task[-1]
        if len(set(last.values())) > 1:
            ends = ", ".join(f"{name} in {width}" for name, width in last.items())
            raise ValueError(
                f"a gate adds experts, so all must end in the same width; expert: {ends}. "
                "Make the last widths equal"
            )
        return self

    @property
    def fusion_width(self) -> int:
        """Width of every expert's output, so of every gate's, on every level."""
        return self.shared_experts.widths[-1]

    @property
    def shared_experts(self) -> ExpertGroup:
        """The shared experts of one level."""
        widths = self.expert.shared if isinstance(self.expert, ExpertWidths) else self.expert
        return ExpertGroup(self.experts.shared, widths)

    def check_tasks(self, tasks: Sequence[str]) -> None:  # noqa: D102 (the base says it)
        self.task_experts(tasks)

    def task_experts(self, tasks: Sequence[str]) -> tuple[ExpertGroup, ...]:
        """Each task's own experts on one level, in the order of `tasks`.

        Raises:
            ValueError: a mapping names a task that is not in `tasks`, or leaves one out.
        """
        widths = self.expert.task if isinstance(self.expert, ExpertWidths) else self.expert
        return tuple(
            ExpertGroup(*group)
            for group in zip(
                _per_task(self.experts.task, tasks, "experts.task"),
                _per_task(widths, tasks, "expert.task"),
                strict=True,
            )
        )


def _per_task(setting: T | dict[str, T], tasks: Sequence[str], where: str) -> list[T]:
    if not isinstance(setting, dict):
        return [setting] * len(tasks)
    for name in setting:
        if name not in tasks:
            raise ValueError(f"{where}: unknown task '{name}'; the tasks are {', '.join(tasks)}")
    if missing := [name for name in tasks if name not in setting]:
        raise ValueError(
            f"{where}: nothing given for {', '.join(missing)}; name every task, or give one value"
        )
    return [setting[name] for name in tasks]
