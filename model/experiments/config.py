"""What experiments there are: layers, the buckets of each that an experiment holds, and its arms.

A layer deals its units into 10,000 buckets. An experiment holds a run of them, from its creation until it is
stopped; the first `ramp` of these are live. So a ramp only adds units, two experiments of a layer share none,
and layers, which have salts of their own, know nothing of each other (Tang et al., KDD 2010, "Overlapping
experiment infrastructure"). Which arm a unit has depends on a second hash, salted by layer and experiment:
no ramp changes the ratio of arms, and who shared an arm does not share one in the next experiment.
Knows no requests and no store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from model.errors import FulcrumError, listed
from model.experiments.terms import Outcome, Ramp, Terms
from model.frozen import Frozen, Name
from model.fusion.conditions import RequestCondition

BUCKETS = 10_000
"""Of a layer; shares of arms and of holdouts are counted in as many parts."""
HOLDOUT = "holdout"
"""What the arm of units that are in no experiment of their layer, ever, is called."""

MOST_LETTERS = 64
"""Of the name of a layer, an experiment or an arm: every answer names them."""

Unit = Literal["user", "session", "request"]
State = Literal["draft", "running", "paused", "stopped"]
Version = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Label = Annotated[Name, Field(max_length=MOST_LETTERS)]
Parts = Annotated[int, Field(ge=1, le=BUCKETS)]


class ExperimentError(FulcrumError):
    """An experiment that cannot be. One line: what was found, what was expected, what to do."""


class Layer(Frozen):
    """Experiments that exclude one another."""

    name: Label
    salt: Annotated[str, Field(min_length=1, max_length=256)]
    """Of its hashes: kept over restarts and experiments; another one deals all units anew."""
    unit: Unit = "user"
    """What is dealt into buckets."""
    holdout: Annotated[int, Field(ge=0, lt=BUCKETS)] = 0
    """Buckets, the last of the layer, whose units are in no experiment of it, ever."""


class Arm(Frozen):
    """What some units of an experiment get: a bundle and a fusion. What is None is what is active."""

    name: Label
    share: Parts
    """Of the experiment's units, in ten thousandths."""
    bundle: Version | None = None
    revision: Annotated[int, Field(ge=1)] | None = None
    patch: dict[str, Any] | None = None
    """What differs from the active fusion config."""

    @model_validator(mode="after")
    def _one_fusion(self) -> Self:
        if self.revision is not None and self.patch is not None:
            raise ValueError("found a revision and a patch; expected one of them, or neither")
        return self


class Experiment(Frozen):
    """A comparison of arms on some buckets of a layer."""

    id: Label
    layer: Label
    arms: Annotated[tuple[Arm, ...], Field(min_length=2, max_length=20)]
    """The first one is the control: what others are compared with."""
    first: Annotated[int, Field(ge=0, lt=BUCKETS)]
    """The first of its buckets: see `Experiments.free`."""
    size: Parts
    """Buckets that it holds."""
    ramp: Annotated[int, Field(ge=1, le=BUCKETS)]
    """The number of these that are live, from the first on."""
    scenes: tuple[str, ...] | None = None
    """Whose requests take part; None for all."""
    when: RequestCondition | None = None
    """What else must hold of a request."""
    overrides: Annotated[dict[str, Name], Field(default_factory=dict)]
    """By unit: the arm that a tester gets, whatever bucket, scene and context, in a draft, too."""
    state: State = "draft"
    start_ms: int | None = None
    """When it begins, once it is running: Unix time, milliseconds. None: at once."""
    stop_ms: int | None = None
    """When it ends, as if it were paused. None: when somebody stops it."""
    edition: Annotated[int, Field(ge=1)] = 1
    """Counts its changes: who changes it says which one they have seen."""
    author: str = ""
    note: str = ""
    created_ms: int = 0
    since_ms: int | None = None
    """When the present comparison began: at the last start. Nothing before counts."""
    ramped_ms: int | None = None
    """When the ramp last grew, or the comparison began."""
    terms: Terms | None = None
    """How it is judged; None: by nobody but people."""
    ramps: tuple[Ramp, ...] = ()
    """How the ramp grows, if nothing alarms: the first step beyond the present ramp is the next."""
    on_better: Literal["activate", "pause"] = "pause"
    """What happens where an arm is better."""
    outcome: Outcome | None = None
    """How the last comparison ended."""

    @property
    def last(self) -> int:
        """The last of its buckets."""
        return self.first + self.size - 1

    @property
    def shares(self) -> dict[str, float]:
        """By arm: its share of the experiment's units, whatever the ramp."""
        return {arm.name: arm.share / BUCKETS for arm in self.arms}

    def live_at(self, time_ms: int) -> bool:
        """Whether requests take part at that moment."""
        began = self.start_ms is None or self.start_ms <= time_ms
        return self.state == "running" and began and (self.stop_ms is None or time_ms < self.stop_ms)

    def changed(self, **update: Any) -> Experiment:
        """Its next edition, with these fields."""
        return Experiment.model_validate({**dict(self), **update, "edition": self.edition + 1})

    def ramped(self, ramp: int) -> Experiment:
        """The same with more live buckets.

        Raises:
            ExperimentError: fewer than now, or more than it holds.
        """
        if not self.ramp <= ramp <= self.size:
            raise ExperimentError(
                f"experiment {self.id}: cannot ramp from {self.ramp} buckets to {ramp}; expected {self.ramp} "
                f"to {self.size}: a ramp only adds units. Pause it to take them away"
            )
        return self.model_copy(update={"ramp": ramp})

    @field_validator("arms")
    @classmethod
    def _arms_make_a_whole(cls, arms: tuple[Arm, ...]) -> tuple[Arm, ...]:
        if twice := _twice(arm.name for arm in arms):
            raise ValueError(f"found {twice!r} twice; expected unlike names")
        if (whole := sum(arm.share for arm in arms)) != BUCKETS:
            shares = ", ".join(f"{arm.name} {arm.share}" for arm in arms)
            raise ValueError(f"shares ({shares}) sum to {whole}; expected {BUCKETS}")
        return arms

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.last >= BUCKETS:
            raise ValueError(f"buckets {_run(self)}: a layer has {BUCKETS}, from 0 to {BUCKETS - 1}")
        if self.ramp > self.size:
            raise ValueError(f"ramp {self.ramp} is more than the {self.size} buckets that it holds")
        if self.start_ms is not None and self.stop_ms is not None and self.start_ms >= self.stop_ms:
            raise ValueError(f"stop_ms {self.stop_ms} is not after start_ms {self.start_ms}")
        known = [arm.name for arm in self.arms]
        steps = [step.to for step in self.ramps]
        if steps != sorted(set(steps)) or max(steps, default=0) > self.size:
            raise ValueError(f"ramps to {steps}; expected growing numbers, {self.size} at most")
        for unit, arm in self.overrides.items():
            if arm not in known:
                raise ValueError(f"overrides: {unit!r} gets {arm!r}; the arms are {listed(known)}")
        return self


class Experiments(Frozen):
    """All layers and all experiments, of which those of one layer hold unlike buckets."""

    layers: tuple[Layer, ...] = ()
    experiments: tuple[Experiment, ...] = ()

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        for what, names in (
            ("layers", [layer.name for layer in self.layers]),
            ("salts of layers", [layer.salt for layer in self.layers]),
            ("experiments", [one.id for one in self.experiments]),
        ):
            if twice := _twice(names):
                raise ValueError(f"{what}: found {twice!r} twice; expected unlike ones")
        for one in self.experiments:
            self.layer(one.layer)
        for layer in self.layers:
            held = self.held(layer.name)
            for left, right in pairwise(held):
                if right.first <= left.last:
                    raise ValueError(
                        f"layer {layer.name}: {left.id} holds buckets {_run(left)} and {right.id} "
                        f"{_run(right)}, which overlap; move or stop one of them"
                    )
            if held and held[-1].last >= BUCKETS - layer.holdout:
                raise ValueError(
                    f"layer {layer.name}: {held[-1].id} holds buckets {_run(held[-1])}, of which those from "
                    f"{BUCKETS - layer.holdout} on are its holdout"
                )
        return self

    def one(self, name: str) -> Experiment:
        """The experiment of that id.

        Raises:
            ExperimentError: there is none.
        """
        found = next((one for one in self.experiments if one.id == name), None)
        if found is None:
            raise ExperimentError(
                f"no experiment {name!r}; there is {listed([one.id for one in self.experiments])}"
            )
        return found

    def with_(self, changed: Experiment) -> Experiments:
        """The same with this experiment in place of the one of its id, or as the last."""
        known = any(one.id == changed.id for one in self.experiments)
        experiments = tuple(changed if one.id == changed.id else one for one in self.experiments)
        return Experiments(layers=self.layers, experiments=experiments if known else (*experiments, changed))

    def layer(self, name: str) -> Layer:
        """The layer of that name.

        Raises:
            ExperimentError: there is none.
        """
        found = next((layer for layer in self.layers if layer.name == name), None)
        if found is None:
            raise ExperimentError(f"no layer {name!r}; there is {listed([one.name for one in self.layers])}")
        return found

    def held(self, layer: str) -> list[Experiment]:
        """Experiments that hold buckets of a layer, all but stopped ones, in the order of these."""
        held = [one for one in self.experiments if one.layer == layer and one.state != "stopped"]
        return sorted(held, key=lambda one: one.first)

    def free(self, layer: str, size: int) -> int:
        """The first of `size` buckets of a layer, side by side, that nobody holds.

        Raises:
            ExperimentError: no such layer, or no such run of buckets.
        """
        runs = self.free_runs(layer)
        fitting = next((first for first, last in runs if last - first + 1 >= size), None)
        if fitting is not None:
            return fitting
        free = ", ".join(f"{first}-{last}" for first, last in runs)
        holders = ", ".join(f"{one.id} {_run(one)}" for one in self.held(layer))
        raise ExperimentError(
            f"layer {layer}: no {size} free buckets side by side; free are {free or 'none'}, held "
            f"are {holders or 'none'}. Stop an experiment, take fewer buckets or another layer"
        )

    def free_runs(self, layer: str) -> list[tuple[int, int]]:
        """Buckets of a layer that nobody holds: the first and the last of each run.

        Raises:
            ExperimentError: no such layer.
        """
        begin, runs = 0, []
        end = BUCKETS - self.layer(layer).holdout
        for first, last in [*((one.first, one.last) for one in self.held(layer)), (end, end)]:
            if first > begin:
                runs.append((begin, first - 1))
            begin = last + 1
        return runs


def _run(experiment: Experiment) -> str:
    return f"{experiment.first}-{experiment.last}"


def _twice(names: Iterable[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)
