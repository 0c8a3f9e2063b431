"""Settings of the service: from the command line, else from `FULCRUM_*`, else the defaults below.

Says what each is and in which unit; opens nothing. Nothing reads the environment but `load_settings`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from model.cores import available_cores
from model.errors import FulcrumError, Problem, and_more, problems
from model.events.exposures import Precision
from model.events.kafka import FolderOrKafka
from model.redis_url import FolderOrRedis
from service.inference.providers import Provider

_PREFIX = "FULCRUM_"
_OTEL = "OTEL_EXPORTER_OTLP_ENDPOINT"
"""How all programs are told where traces go; followed where our own setting is absent."""


class Settings(BaseSettings):
    """Everything the service can be told."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=True,
        allow_inf_nan=False,
    )

    bundle: Path | None = Field(default=None, description="Folder of the bundle to serve, for good.")
    models: Path | None = Field(
        default=None,
        description="Folder of bundles, in place of one: watched; the newest serves unless one is activated.",
    )
    state: FolderOrRedis | None = Field(
        default=None,
        description="Where the version of the activated bundle is kept: a file, or redis://... for several "
        "hosts. Default: state.json in the folder of bundles.",
    )
    control: FolderOrRedis | None = Field(
        default=None,
        description="Where revisions of the fusion, what is active and the audit are kept: a SQLite file, "
        "or redis://... for several hosts. Default: the fusion is a file without a history.",
    )
    tokens: Path | None = Field(
        default=None,
        description="File of who may change something over HTTP, by the SHA-256 of their bearer tokens.",
    )
    admin_token: SecretStr | None = Field(
        default=None,
        description="Bearer token of the actor `admin`, who may change everything over HTTP. Without it and "
        "without tokens, nobody changes anything.",
    )
    features: FolderOrRedis = Field(
        description="Feature store written by `fulcrum publish`: a folder, redis://..., rediss://... or unix://..."
    )
    feature_timeout_ms: float = Field(
        default=50.0,
        gt=0,
        le=10_000,
        description="Milliseconds that a request waits for Redis at most; one with a timeout of its own "
        "gives it half of what is left, of less than 10 ms up to 5 ms.",
    )
    feature_connections: int = Field(
        default=16, ge=1, le=1024, description="Connections to Redis of a worker."
    )
    feature_cache_items: int = Field(
        default=100_000, ge=0, description="Items of Redis that a worker remembers at most; 0 remembers none."
    )
    feature_cache_ttl_s: float = Field(
        default=60.0, gt=0, description="Seconds for which a worker remembers an item, publishings apart."
    )
    fusion: Path | None = Field(
        default=None, description="Fusion config file, watched while serving. Default: the bundle's own."
    )
    events: FolderOrKafka | None = Field(
        default=None,
        description="Where what was shown and what came of it is kept: a folder, or kafka://... for several "
        "hosts. Default: nothing is kept.",
    )
    exposure_candidates: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Share of answers of which all candidates are kept with their predictions.",
    )
    exposure_rows: float = Field(
        default=0.001,
        ge=0,
        le=1,
        description="Share of which the rows are kept, too, that the network took; of the former ones.",
    )
    exposure_precision: Precision = Field(
        default="float32", description="How predictions are kept: float32, as served, or int16."
    )
    events_interval_ms: int = Field(
        default=1000,
        ge=10,
        le=60_000,
        description="Milliseconds between two writes of what was shown: what a crash may cost.",
    )
    events_user_key: SecretStr | None = Field(
        default=None,
        description="Key of 16 to 64 bytes under which users are hashed. Default: their ids are kept.",
    )
    events_salt: SecretStr = Field(
        default=SecretStr(""),
        description="Salt of the hash from which users' buckets are made; with a key for users it must be "
        "given, and kept as secret.",
    )
    provider: Provider = Field(
        default="auto",
        description="Where the network runs: cpu, cuda or openvino; auto takes CUDA where the installed "
        "onnxruntime offers it.",
    )
    variant: str = Field(
        default="fp32",
        min_length=1,
        description="Variant of the network: fp32, one that the bundle has, such as int8, or auto, the "
        "fastest that passed its gate and suits this machine.",
    )
    workers: int = Field(default=1, ge=1, le=1024, description="Server processes, which share one port.")
    threads: int = Field(
        default_factory=lambda given: _share_of_cores(given.get("workers", 1)),
        ge=1,
        le=1024,
        description="Cores that a worker computes on: requests at a time, or parts of one while others are "
        "idle. Default, or auto: its share of the cores this process may use.",
    )
    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="TCP port to listen on; 0 takes a free one.")
    max_body_bytes: int = Field(
        default=8 * 1024 * 1024, ge=1024, description="Largest request body, in bytes; a larger one gets 413."
    )
    max_candidates: int = Field(
        default=10_000, ge=5_000, description="Most candidates of one request; more are refused with 422."
    )
    max_queue: int = Field(
        default=128, ge=1, description="Requests that wait for a thread at most; more get 503."
    )
    max_queue_wait_ms: float = Field(
        default=1000.0,
        gt=0,
        description="Milliseconds for which a request may be expected to wait; a longer wait is 503.",
    )
    read_timeout_s: float = Field(
        default=10.0,
        gt=0,
        description="Seconds in which a request's head must have come, then its body, and in which its "
        "caller must take the answer.",
    )
    max_connections: int = Field(
        default=4096,
        ge=16,
        description="Open connections of a worker at most; beyond, the one idle for the longest is closed.",
    )
    keep_alive_s: int = Field(
        default=75, ge=1, description="Seconds for which an idle connection is kept open."
    )
    log_format: Literal["json", "console"] = Field(
        default="json", description="Logs on stderr: json for machines, console for people."
    )
    slow_ms: float = Field(
        default=1000.0, gt=0, description="A ranking that takes more milliseconds is logged as slow."
    )
    otel_endpoint: str | None = Field(
        default=None,
        description="OpenTelemetry collector, OTLP over HTTP, such as http://collector:4318. Default: what "
        "OTEL_EXPORTER_OTLP_ENDPOINT says; where that is absent too, there are no traces.",
    )

    @field_validator("threads", mode="before")
    @classmethod
    def _auto(cls, threads: Any, info: ValidationInfo) -> Any:
        if threads == "auto":
            return _share_of_cores(info.data.get("workers", 1))
        if isinstance(threads, str) and not threads.strip().lstrip("-").isdecimal():
            raise ValueError(f"expected a whole number or auto, found {threads!r}")
        return threads

    @field_validator("port", mode="before")
    @classmethod
    def _no_service_link(cls, port: Any) -> Any:
        if isinstance(port, str) and port.startswith("tcp://"):
            raise ValueError(
                f"found {port!r}, which Kubernetes sets for a service named fulcrum; "
                "set enableServiceLinks: false or give the port on the command line"
            )
        return port

    @field_validator("events_user_key")
    @classmethod
    def _hard_to_guess(cls, key: SecretStr | None) -> SecretStr | None:
        length = None if key is None else len(key.get_secret_value().encode())
        if length is not None and not 16 <= length <= 64:  # a bound of the field would repeat what is secret
            raise ValueError(f"expected 16 to 64 bytes, found {length}")
        return key

    @model_validator(mode="after")
    def _one_source_of_bundles(self) -> Self:
        if (self.bundle is None) == (self.models is None):
            found = "neither" if self.bundle is None else "both"
            raise ValueError(
                "give one of --bundle (FULCRUM_BUNDLE), a folder, and --models (FULCRUM_MODELS), a folder of "
                f"such folders; found {found}"
            )
        if self.state is not None and self.models is None:
            raise ValueError(
                "--state (FULCRUM_STATE) says which of several bundles serves; "
                "give --models in place of --bundle"
            )
        return self

    @model_validator(mode="after")
    def _one_place_of_what_is_wanted(self) -> Self:
        if self.control is not None and self.state is not None:
            raise ValueError(
                "give one of --control (FULCRUM_CONTROL), which keeps the active bundle, too, and --state "
                "(FULCRUM_STATE); found both"
            )
        return self

    @model_validator(mode="after")
    def _no_user_is_guessed(self) -> Self:
        if self.events_user_key is not None and not self.events_salt.get_secret_value():
            raise ValueError(
                "FULCRUM_EVENTS_USER_KEY is given without FULCRUM_EVENTS_SALT: anybody could find users by "
                "their hash without a salt; give a salt, keep it secret, and do not change it"
            )
        return self


def _share_of_cores(workers: int) -> int:
    return max(1, available_cores() // workers)


def load_settings(**given: Any) -> Settings:
    """Settings from the command line's options (None: not given) over the environment's.

    Raises:
        FulcrumError: an option is unknown, not built yet or out of bounds; names it.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if not os.environ.get(_PREFIX + "OTEL_ENDPOINT") and os.environ.get(_OTEL):
        given = {"otel_endpoint": os.environ[_OTEL], **given}
    try:
        return Settings(**given)
    except ValidationError as error:
        found, count = problems(error, Settings)
        first = Problem(_as_given(found[0].path, given), found[0].message)
        raise FulcrumError(f"settings: {first}{and_more(count)}") from None  # it holds what is secret


def _as_given(name: str, given: Mapping[str, Any]) -> str:
    """A setting as the user knows it: by option, by variable, or by both where it is absent."""
    option, variable = f"--{name.replace('_', '-')}", _PREFIX + name.upper()
    if not name or name in given:
        return option if name else ""
    return variable if os.environ.get(variable) else f"{option} or {variable}"
