"""Settings of the service: from the command line, else from `FULCRUM_*`, else the defaults below.

Says what each is and in which unit; opens nothing. Nothing reads the environment but `load_settings`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from model.errors import FulcrumError, first_problem
from service.cores import available_cores

__all__ = ["Settings", "load_settings"]

_PREFIX = "FULCRUM_"
_NOT_BUILT = {
    "models": "a folder of several bundles; give one with bundle",
    "state": "shared state of several workers",
    "admin_token": "changes over HTTP; edit the fusion file",
}


class Settings(BaseSettings):
    """Everything the service can be told."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    bundle: Path = Field(description="Folder of the bundle to serve.")
    features: str = Field(description="Folder of the feature store, written by `fulcrum publish`.")
    fusion: Path | None = Field(
        default=None, description="Fusion config file, watched while serving. Default: the bundle's own."
    )
    provider: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where the network runs; auto takes CUDA where onnxruntime offers it."
    )
    variant: str = Field(default="auto", description="Variant of the network; auto is fp32.")
    threads: int = Field(
        default_factory=available_cores,
        ge=1,
        le=1024,
        description="Threads of one inference. Default: the cores this process may use.",
    )
    workers: int = Field(default=1, ge=1, description="Server processes.")
    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="TCP port to listen on; 0 takes a free one.")
    max_body_bytes: int = Field(
        default=8 * 1024 * 1024, ge=1024, description="Largest request body, in bytes; a larger one gets 413."
    )
    max_candidates: int = Field(
        default=10_000, ge=5_000, description="Most candidates of one request; more are refused with 422."
    )
    log_format: Literal["json", "console"] = Field(
        default="json", description="Logs on stderr: json for machines, console for people."
    )

    @field_validator("features")
    @classmethod
    def _a_folder(cls, features: str) -> str:
        if "://" in features:
            kind = features.split("://", 1)[0]
            raise ValueError(f"a {kind}:// feature store is not built yet; give a folder")
        if not features:
            raise ValueError("expected a folder, found nothing")
        return features

    @field_validator("variant")
    @classmethod
    def _built_variant(cls, variant: str) -> str:
        if variant not in {"auto", "fp32"}:
            raise ValueError(f"variant {variant!r} is not built yet; use auto or fp32")
        return variant

    @field_validator("workers")
    @classmethod
    def _one_worker(cls, workers: int) -> int:
        if workers != 1:
            raise ValueError(f"{workers} workers are not built yet; use 1")
        return workers

    @field_validator("port", mode="before")
    @classmethod
    def _no_service_link(cls, port: Any) -> Any:
        if isinstance(port, str) and port.startswith("tcp://"):
            raise ValueError(
                f"found {port!r}, which Kubernetes sets for a service named fulcrum; "
                "set enableServiceLinks: false or give the port on the command line"
            )
        return port


def load_settings(**given: Any) -> Settings:
    """Settings from the command line's options (None: not given) over the environment's.

    Raises:
        FulcrumError: an option is unknown, not built yet or out of bounds; names it.
    """
    given = {name: value for name, value in given.items() if value is not None}
    for name, what in _NOT_BUILT.items():
        if name in given or _PREFIX + name.upper() in os.environ:
            raise FulcrumError(f"settings: {name} is not built yet ({what})")
    try:
        return Settings(**given)
    except ValidationError as error:
        raise FulcrumError(f"settings: {first_problem(error)}") from error
