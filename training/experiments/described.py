"""Descriptions: an experiment as people write it, and as the service takes it. Asks no service.

Shares, sizes and ramps may be written as percentages: those of arms of the experiment, all others of the
layer. In place of `terms.days` and `terms.planned_error` there may be a `plan`: the difference that is to be
found, and how much traffic there is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from model.document import read_document, read_text
from model.errors import FulcrumError, checked
from model.experiments import BUCKETS, Arm, Experiment, Guardrail, Ramp, Terms
from model.frozen import Frozen, Name
from model.fusion.conditions import RequestCondition
from training.experiments.planning import DesignEffect, Plan, plan

Parts = Annotated[int, Field(ge=1, le=BUCKETS)]
CANARY_STEPS = ((100, 0.0), (500, 1.0), (2_000, 6.0), (BUCKETS, 24.0))
"""Buckets of a canary's ramp, and the hours that each waits for after the one before."""
CANARY_UNITS = 500
"""That each arm must have had before a canary's ramp grows."""
OF_ANSWERS = ("failed", "degraded", "slow")
"""Guardrails that come from answers, not from the log."""
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")


class Goal(Frozen):
    """What an experiment is to find, and the traffic there is for it."""

    difference: Annotated[float, Field(gt=-1)]
    """As a fraction of the control's metric."""
    power: Annotated[float, Field(gt=0.5, lt=1)] = 0.9
    deviation: Annotated[float, Field(gt=0)] | None = None
    """Standard deviation of a request's value by its mean: see `fulcrum experiment plan --log`."""
    requests: Annotated[float, Field(gt=0)] | None = None
    """A day, of the whole service in the experiment's scenes."""
    design_effect: Annotated[float, Field(gt=0)] = 1.0
    design_days: Annotated[float, Field(gt=0)] | None = None
    """Days of the log that it was measured on, where units come again."""

    def planned(self, size: int, shares: Sequence[float], alpha: float) -> Plan:
        """What it takes, with so many buckets and these shares of arms, for the smallest arm.

        Without a deviation or requests only the error and the half-width are known.
        """
        known = self.deviation is not None and self.requests is not None
        pair = (shares[0], min(shares[1:]))
        return plan(
            self.difference,
            self.deviation or 1.0,
            (self.requests or 1.0) * size / BUCKETS * sum(pair) if known else 1.0,
            shares=pair,
            design=DesignEffect(self.design_effect, self.design_days),
            alpha=alpha / (len(shares) - 1),
            power=self.power,
        )


class _Judged(Frozen):
    """Terms, of which a plan may give two."""

    primary: Name
    metrics: Annotated[dict[Name, str], Field(default_factory=dict)]
    guardrails: tuple[Guardrail, ...] = ()
    days: Annotated[float, Field(gt=0)] | None = None
    planned_error: Annotated[float, Field(gt=0)] | None = None
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    before_days: float = 0.0
    slow_ms: float = 100.0
    sample_ratio_alpha: float = 0.001
    most_crossed: float = 0.001


class Description(Frozen):
    """An experiment that is to be created."""

    id: Name
    layer: Name
    arms: Annotated[tuple[Arm, ...], Field(min_length=2, max_length=20)]
    """The first one is the control."""
    size: Parts
    """Buckets of its layer that it holds."""
    first: int | None = None
    """Of these; the first that are free where None."""
    ramp: Parts | None = None
    """Buckets that are live at the start; the first step of `ramps`, or all."""
    scenes: tuple[str, ...] | None = None
    when: RequestCondition | None = None
    overrides: Annotated[dict[str, Name], Field(default_factory=dict)]
    start: str | None = None
    """When it begins once it runs, such as 2026-11-30T06:00+01:00; UTC where it names no zone."""
    stop: str | None = None
    note: str = ""
    terms: _Judged | None = None
    plan: Goal | None = None
    ramps: tuple[Ramp, ...] = ()
    on_better: Literal["activate", "pause"] = "pause"

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        experiment(self)
        return self


def read_description(file: Path) -> Description:
    """The description in a YAML file.

    Raises:
        FulcrumError: it cannot be read, or describes no experiment.
    """
    try:
        document = read_document(read_text(file))
    except FulcrumError as error:
        raise FulcrumError(f"{file}: {error}") from None
    return described(document, str(file))


def described(document: Any, source: str) -> Description:
    """A description, as YAML says it.

    Raises:
        FulcrumError: `SOURCE: PATH: what was expected, what was found`.
    """
    return checked(Description, _without_percent(document), source)


def experiment(said: Description) -> Experiment:
    """The experiment, as far as its description knows it.

    Raises:
        ValueError: its parts do not fit each other.
    """
    return Experiment(
        id=said.id,
        layer=said.layer,
        arms=said.arms,
        first=said.first or 0,
        size=said.size,
        ramp=said.ramp or (said.ramps[0].to if said.ramps else said.size),
        scenes=said.scenes,
        when=said.when,
        overrides=said.overrides,
        start_ms=None if said.start is None else moment_ms("start", said.start),
        stop_ms=None if said.stop is None else moment_ms("stop", said.stop),
        note=said.note,
        terms=_terms(said),
        ramps=said.ramps,
        on_better=said.on_better,
    )


_SENT = (
    *("id", "layer", "arms", "size", "first", "ramp", "scenes", "when", "overrides", "start_ms", "stop_ms"),
    *("note", "terms", "ramps", "on_better"),
)


def body(said: Description) -> dict[str, Any]:
    """What `POST /v1/experiments` takes."""
    found = experiment(said).model_dump(mode="json", exclude_none=True, include=set(_SENT))
    if said.first is None:
        del found["first"]
    return found


def canary(
    name: str,
    layer: str,
    *,
    bundle: str | None = None,
    revision: int | None = None,
    patch: dict[str, Any] | None = None,
    size: int = BUCKETS // 2,
    guards: Sequence[str] = (),
    days: float = 7.0,
    difference: float = 0.02,
    on_better: Literal["activate", "pause"] = "pause",
    note: str = "",
) -> Description:
    """Something new beside what is active: two equal arms on a growing share, with guardrails on answers, on
    the reward and on behaviours.

    Args:
        name, layer: of the experiment.
        bundle, revision, patch: what is new.
        size: buckets at the end.
        guards: columns of the joined log whose units must not become fewer.
        days: until the verdict.
        difference: of the reward that is worth finding, as a fraction; a loss of so much is harm.
        on_better, note: as of any experiment.

    Raises:
        FulcrumError: nothing is new, or it fits no layer.
    """
    if bundle is None and revision is None and patch is None:
        raise FulcrumError(
            "a canary needs what is new: --bundle VERSION, --revision N, or a file with a patch"
        )
    arm = {"bundle": bundle, "revision": revision, "patch": patch}
    steps = [(to, hours) for to, hours in CANARY_STEPS if to < size]
    steps.append((size, next(hours for to, hours in CANARY_STEPS if to >= size)))
    answers = [{"metric": one, "harm": "rises", "margin": 0.1} for one in OF_ANSWERS]
    reward = {"metric": "reward", "harm": "falls", "test": "mean", "margin": abs(difference)}
    behaviours = [{"metric": one, "harm": "falls", "margin": 0.05} for one in guards]
    return described(
        {
            "id": name,
            "layer": layer,
            "arms": [
                {"name": "control", "share": BUCKETS // 2},
                {"name": "canary", "share": BUCKETS // 2, **{k: v for k, v in arm.items() if v is not None}},
            ],
            "size": size,
            "note": note,
            "terms": {"primary": "reward", "guardrails": [*answers, reward, *behaviours], "days": days},
            "plan": {"difference": difference},
            "ramps": [
                {"to": to, "hours": hours, "units": 0 if to == steps[0][0] else CANARY_UNITS}
                for to, hours in steps
            ],
            "on_better": on_better,
        },
        f"canary {name}",
    )


def parts(text: str, what: str) -> int:
    """`500`, or `5%`, as buckets or ten thousandths.

    Raises:
        FulcrumError: neither, or not within a layer.
    """
    found = _PERCENT.fullmatch(text.strip())
    number = round(float(found[1]) * BUCKETS / 100) if found else int(text) if text.isdecimal() else 0
    if not 1 <= number <= BUCKETS:
        raise FulcrumError(f"{what} {text!r}: expected a percentage such as 5%, or 1 to {BUCKETS} buckets")
    return number


def moment_ms(what: str, text: str) -> int:
    """A time as Unix time, milliseconds.

    Raises:
        FulcrumError: it is none.
    """
    try:
        when = datetime.fromisoformat(text)
        return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise FulcrumError(
            f"{what} {text!r}: expected a time such as 2026-11-30T06:00+01:00 or 2026-11-30T05:00Z"
        ) from None


def _terms(said: Description) -> Terms | None:
    if said.terms is None:
        if said.plan is not None:
            raise ValueError("plan: there are no terms that it is of; say terms.primary, or leave it out")
        return None
    given = said.terms.model_dump()
    if said.plan is not None:
        shares = [arm.share / BUCKETS for arm in said.arms]
        planned = said.plan.planned(said.size, shares, said.terms.alpha)
        given["planned_error"] = given["planned_error"] or planned.error
        if given["days"] is None and said.plan.deviation is not None and said.plan.requests is not None:
            if math.isinf(planned.days):
                raise ValueError(
                    "plan: never: units differ by more than the difference, and there are too few of them; "
                    "plan for a larger difference, deal sessions, or say terms.days"
                )
            given["days"] = math.ceil(planned.days * 10) / 10
    for name, how in (("days", "plan.deviation and plan.requests"), ("planned_error", "plan.difference")):
        if given[name] is None:
            raise ValueError(f"terms.{name}: required, but absent; or say {how}")
    return Terms.model_validate(given)


def _without_percent(document: Any) -> Any:
    """With numbers in place of percentages, where these may stand."""
    if not isinstance(document, dict):
        return document
    found = dict(document)
    for name in ("size", "ramp"):
        _replace(found, name)
    for of, name in (("arms", "share"), ("ramps", "to")):
        if isinstance(found.get(of), list):
            found[of] = [dict(one) if isinstance(one, dict) else one for one in found[of]]
            for one in found[of]:
                _replace(one, name)
    return found


def _replace(of: Any, name: str) -> None:
    value = of.get(name) if isinstance(of, dict) else None
    if isinstance(value, str) and _PERCENT.fullmatch(value.strip()):
        of[name] = parts(value, name)
