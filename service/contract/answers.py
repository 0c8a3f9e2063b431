"""What the service answers, as types: for the API's documentation and for tests. Answers are plain dicts.

Knows nothing of how they are made.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from model.frozen import Strict
from service.contract.control import ScheduleReport
from service.contract.fields import ItemFields


class ModelName(Strict):
    """The bundle that predicted."""

    name: str
    version: str = Field(description="sha256 of network, encoder and schema.")
    variant: str


class FusionName(Strict):
    """The fusion config that scored."""

    revision: int | None = Field(description="Counts in a store; null for a file.")
    version: str = Field(description="sha256 of the canonical config.")
    scene: str = Field(description="The scene applied.")
    segment: str | None = Field(
        description="Its segment whose weights were applied; null for the scene's own."
    )
    experiments: list[str] = Field(
        description="Labels of the request's arms, `layer/experiment:arm` or `layer/holdout`, a tester's "
        "with `@override`; and `explore/SCENE` where the weights were drawn from its noise law."
    )


class TaskContribution(Strict):
    """A task's part of the score, of the log-score in `log_power`: weight * log(clip(p) + smoothing)."""

    p: float
    calibrated: float | None = Field(default=None, description="Of p, where the scene calibrates the task.")
    weight: float = Field(description="As applied; in `weighted_sum` the price.")
    price_per_s: float | None = Field(default=None, description="In `weighted_sum`, where there is one.")
    term: float


class LengthContribution(Strict):
    """The video length's part of it: weight * log(f) in `log_power`."""

    video_len: float | None = Field(description="Seconds; null where unknown.")
    f: float
    weight: float
    term: float


class BaseContribution(Strict):
    """A network's score where all predictions are 0, the length unknown; other terms are what it gains."""

    term: float


class _Placed(Strict):
    id: str
    rank: int
    score: float | None = Field(description="The formula's value; null if unscored.")
    status: Literal["ok", "default_features", "unscored"] = Field(
        description="default_features: the store lacks the user or the video."
    )


class RankedItem(ItemFields, _Placed):
    """A candidate with its place."""

    log_score: float | None = Field(
        default=None, description="With explain: the sum of the terms in `log_power`; null elsewhere."
    )
    terms: dict[str, TaskContribution | LengthContribution | BaseContribution] | None = Field(
        default=None, description="With explain: by task, and video_len; with a network, base before them."
    )


class RankResponse(Strict):
    """The candidates, best first; those without a score come last, in the given order."""

    request_id: str | None
    exposure_id: str = Field(description="The server's name of this answer: feedback joins on it.")
    took_ms: float = Field(description="Milliseconds from arrival to answer.")
    model: ModelName
    fusion: FusionName
    degraded: list[str] = Field(
        description="What went wrong: feature_store_timeout, feature_store_unreachable, "
        "feature_store_missing, feature_store_corrupt, deadline, unknown_scene, non_finite_predictions, "
        "fusion_model_deadline, fusion_model_failed, control_store_unreachable."
    )
    scored: int = Field(description="Candidates scored; items holds top_k of all.")
    items: list[RankedItem]


class RejectedEvent(Strict):
    """An event that was not taken."""

    index: int = Field(description="Its place in `events`, from 0.")
    reason: str


class FeedbackReceipt(Strict):
    """What became of a request's events."""

    accepted: int = Field(description="Events that are kept, those that were there already included.")
    rejected: list[RejectedEvent] = Field(description="The others.")


class RejectionReport(Strict):
    """What the fusion file holds now, refused."""

    error: str
    at: str = Field(description="UTC, ISO 8601.")
    sha256: str | None = Field(description="Of the file's bytes; null where there is no readable file.")


class FusionReport(Strict):
    """The fusion config in force."""

    revision: int | None = Field(description="Counts in a store; null for a file.")
    version: str = Field(description="sha256 of the canonical config.")
    source: str = Field(description="The file, or the control store and its revision.")
    loaded_at: str = Field(description="UTC, ISO 8601.")
    scenes: list[str]
    config: dict[str, Any] = Field(description="The parsed config, defaults filled in.")
    left_out: dict[str, list[str]] = Field(description="By scene: tasks of the bundle with weight 0.")
    schedule: ScheduleReport | None = Field(
        description="With a control store: the activation that is to come, as this worker last read it."
    )
    rejected: RejectionReport | None = Field(
        description="A newer content of the file, or a newer revision, that was refused here, and why; null "
        "once a good one replaced it."
    )


class Workers(Strict):
    """The processes that answer."""

    wanted: int
    ready: int
    replaced: int = Field(description="Died and were replaced since the start.")


class Readiness(Strict):
    """The service can rank."""

    status: Literal["ready"]
    bundle: str = Field(description="Version of the bundle that the answering worker serves.")
    fusion: str = Field(description="Version of its fusion config.")
    workers: Workers
    bundles: dict[str, int] = Field(description="By version: ready workers that serve it.")
    fusions: dict[str, int] = Field(description="By version: ready workers that score with it.")
    revisions: dict[str, int] = Field(
        description="By number: ready workers that score with this revision; `none` for a file."
    )
    generations: dict[str, int] = Field(
        description="By name: ready workers that use these published features; `none` where a worker has not "
        "seen any since it started, and ranks by default features."
    )
    features: Literal["reachable", "away"] = Field(
        description="Whether the store answers, as far as the answering worker knows; it ranks all the same."
    )
    feedback: str = Field(
        description="Whether the answering worker writes feedback: written, off, or `failing: ` and why; it "
        "ranks all the same."
    )
    control: str = Field(
        description="Whether the answering worker follows the control store: followed, off, or `failing: ` "
        "and why; it ranks by the revision that it has."
    )
    arm_bundles: dict[str, int] = Field(
        description="By version: ready workers that hold it beside, for arms of experiments."
    )
    waiting: dict[str, str] = Field(
        description="By experiment: why some worker cannot serve it, and keeps all of it out."
    )
    events: str = Field(
        description="Whether the answering worker writes what was shown: written, off, or `failing: ` and "
        "why; it ranks all the same."
    )


class ModelReport(Strict):
    """A bundle and what became of it."""

    name: str | None = Field(description="Recipe and network; null where the manifest cannot be read.")
    version: str | None = Field(description="sha256 of network, encoder and schema.")
    created: str | None = Field(description="UTC, ISO 8601.")
    path: str
    status: Literal["active", "previous", "available", "refused"]
    reason: str | None = Field(description="Why it is refused; null if it is not.")
    tasks: list[str]
    metrics: dict[str, Any] = Field(description="Validation metrics, from the manifest.")
    workers: int = Field(description="Workers that serve it now.")
    arm_workers: int = Field(description="Workers that hold it beside, for arms of experiments.")
    arm_bytes: int = Field(
        description="Bytes by which a worker grew while it loaded it for them, the largest such number; "
        "pages that workers share count in each."
    )


class ModelsReport(Strict):
    """The bundles at hand, the newest first."""

    active: str = Field(description="Version that the answering worker serves.")
    desired: str | None = Field(description="Version that was activated; null for the newest.")
    problem: str | None = Field(description="What is wrong with the desired state; null if nothing is.")
    models: list[ModelReport]


class FieldError(Strict):
    """One value of the body and what is wrong with it."""

    field: str
    message: str


class Problem(Strict):
    """An error, as `application/problem+json`."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] = Field(default=[])
