"""What the service says each second, once for all pages of the console. Changes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from model.client import control
from model.errors import FulcrumError

EVERY_S = 1.0
_PATIENCE_S = 5.0

Active = tuple[int | None, str]
"""Revision, None where the service keeps none, and version."""


class Watch:
    """Looks at the config in force again and again.

    Args:
        service: what is looked at.

    Attributes:
        fusion: the answer to GET /v1/fusion, the latest; None before the first.
        schedule: the activation that is to come, if any.
        problem: why there is none now; None while the service answers.
        since: when it began to be away, Unix time in seconds.
        changed: when another config was first seen, Unix time in seconds.
    """

    def __init__(self, service: control.AsyncControl) -> None:
        self.service = service
        self.fusion: Mapping[str, Any] | None = None
        self.schedule: Mapping[str, Any] | None = None
        self.problem: str | None = "not asked yet"
        self.since = self.changed = time.time()

    @property
    def active(self) -> Active | None:
        """What is in force, as far as is known."""
        return None if self.fusion is None else (self.fusion["revision"], self.fusion["version"])

    async def look(self) -> None:
        """Once."""
        before = self.active
        try:
            answer = await self.service.send(control.fusion(), within_s=_PATIENCE_S)
            if not isinstance(answer, dict) or not isinstance(answer.get("config"), dict):
                raise FulcrumError("the answer to GET /v1/fusion is none of Fulcrum's; correct --url")
        except FulcrumError as error:
            if self.problem is None:
                self.since = time.time()
            self.problem = str(error)
            return
        self.fusion, self.problem = answer, None
        if before != self.active:
            self.changed = time.time()
        self.schedule = answer["schedule"]

    async def run(self) -> None:
        """For good."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)
