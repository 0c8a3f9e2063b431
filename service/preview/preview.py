"""Preview: from a request to its answer. Little of it is done here: the helper computes, workers only ask.

    {recent}            the workers' sample, compared under both configs
    {recent, pick}      one request of it, with the terms of its items
    {request}           a request that is predicted here and now, while no ranking waits

Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson

from model.fusion import canonical_json
from service.contract.errors import (
    FieldProblem,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    StateUnavailableError,
)
from service.contract.preview import PreviewRequest
from service.contract.query import query_of
from service.contract.request import parse_rank_request
from service.control.fusion.revisions import Revisions, UnknownRevisionError
from service.control.snapshot import Snapshot, Snapshots
from service.control.state.desired import StateError
from service.preview.frames import Head, frame
from service.preview.process import HelperProcess
from service.preview.recording import Recorder, record_of
from service.preview.sample import Sample
from service.preview.sharing import Frozen, Samples
from service.processes.fleet import Fleet
from service.ranking.predicted import Predicted
from service.ranking.ranker import Ranker
from service.ranking.stopwatch import Stopwatch

_EMPTY_S = 1.0
"""Seconds between two looks whether requests were seen."""


class Preview:
    """Answers what another config would do.

    Args:
        control: says what is active.
        ranker: predicts.
        recorder: remembers this worker's answers.
        fleet: the workers.
        revisions: of the control store.
        max_candidates: of one request.
    """

    def __init__(
        self,
        control: Snapshots,
        ranker: Ranker,
        recorder: Recorder,
        fleet: Fleet,
        revisions: Revisions,
        max_candidates: int,
    ) -> None:
        self._control = control
        self._ranker = ranker
        self._recorder = recorder
        self._samples = Samples(recorder, fleet)
        self._revisions = revisions
        self._max_candidates = max_candidates
        self._helper = HelperProcess()
        self._freezing: asyncio.Task[Frozen | None] | None = None
        self._empty_until = 0.0

    def start(self) -> None:
        """Begin to share what this worker remembers."""
        self._recorder.start()
        self._samples.start()

    def leave(self) -> None:
        """The service is about to stop: no preview holds it up."""
        self._helper.close()

    def stop(self) -> None:
        """End the helper, and share no longer."""
        self.leave()
        self._samples.stop()

    def check_room(self) -> None:
        """Raise OverloadedError if too many previews wait, so that a body need not be read."""
        self._helper.check_room()

    async def answer(self, asked: PreviewRequest, may_read: bool) -> bytes:
        """The answer, JSON as `service.contract.preview` describes it.

        Args:
            asked: what to compare.
            may_read: whether ids of recent requests may be shown.

        Raises:
            InvalidRequestError: the config cannot be used; names what is wrong with it.
            NotFoundError: there is no such revision.
            StateUnavailableError: the control store cannot be read now.
            OverloadedError: there is more to do than can be done beside the rankings.
        """
        field, config = "config", asked.config
        if asked.revision is not None:
            field = f"revision {asked.revision}"
            config = await self._config_of(asked.revision)
        head: Head = {
            "kind": "request" if asked.request is not None else "recent" if asked.pick is None else "pick",
            "field": field,
            "config": config,
            "networks": _networks_of(config),
            "top": asked.top,
            "scene": asked.scene,
            "recent": asked.recent,
            "pick": asked.pick,
            "ids": may_read or asked.request is not None,
        }
        if asked.request is None:
            return await self._of_recent(head, asked.sample_id)
        predicted = await self._predicted(asked.request)
        sample = Sample.of("", 0, [record_of(predicted)]).to_bytes()
        return await self._asked(head, predicted.snapshot, sample)

    async def _config_of(self, number: int) -> dict[str, Any]:
        try:
            return (await asyncio.to_thread(self._revisions.get, number)).config
        except UnknownRevisionError as error:
            raise NotFoundError(str(error)) from None
        except StateError as error:
            raise StateUnavailableError(str(error)) from error

    async def _network(self, sha256: str) -> bytes | None:
        """One that came with a revision, and so passed its trial."""
        try:
            return await asyncio.to_thread(self._revisions.store.network, sha256)
        except StateError as error:
            raise StateUnavailableError(str(error)) from error

    async def _predicted(self, body: Mapping[str, Any]) -> Predicted:
        try:
            request = parse_rank_request(body, self._max_candidates)
            return await self._ranker.predict(query_of(request), Stopwatch())
        except InvalidRequestError as error:
            raise InvalidRequestError(
                *(FieldProblem(_inside(one.field), one.message) for one in error.problems),
                count=error.count,
                all_read=error.all_read,
            ) from None

    async def _of_recent(self, head: Head, sample_id: str | None) -> bytes:
        snapshot = self._control.snapshot()
        bundle = snapshot.active.bundle.version
        sample = None if sample_id is None else self._samples.named(sample_id, bundle)
        for _ in range(2):  # a sample may be removed before it was read
            sample = sample or self._samples.fresh(bundle) or await self._frozen(bundle)
            head["sample"] = None if sample is None else str(sample.path)
            answer = await self._asked(head, snapshot)
            if answer:
                return answer
            sample = None
        raise OverloadedError("the sample of recent requests was replaced meanwhile; try again", 1)

    async def _frozen(self, bundle: str) -> Frozen | None:
        """A new sample: one for all who want one now."""
        if time.monotonic() < self._empty_until:
            return None
        if self._freezing is None:
            self._freezing = asyncio.create_task(asyncio.to_thread(self._samples.freeze, bundle))
        freezing = self._freezing
        try:
            found = await asyncio.shield(freezing)
        except OSError as error:
            raise OverloadedError(f"recent requests cannot be written down ({error})", 5) from error
        finally:
            if freezing.done():
                self._freezing = None
        if found is None:
            self._empty_until = time.monotonic() + _EMPTY_S
        return found

    async def _asked(self, head: Head, snapshot: Snapshot, body: bytes = b"") -> bytes:
        """What the helper answers; nothing where the sample is gone."""
        active, fusion = snapshot.active.bundle, snapshot.fusion
        head |= {
            "base": f"{active.version} {fusion.version}",
            "version": fusion.version,
            "revision": fusion.revision,
            "networks": sorted({*head["networks"], *fusion.scorers}),
        }
        reply, answer = await self._helper.ask(head, body, partial(self._told, head["base"], snapshot))
        if "refused" in reply:
            field, message = reply["refused"]
            raise InvalidRequestError(FieldProblem(field, message))
        if "failed" in reply:
            raise RuntimeError(f"the preview's helper failed: {reply['failed']}")
        return answer

    async def _told(self, base: str, snapshot: Snapshot, missing: Mapping[str, Any]) -> list[bytes]:
        """What the helper has forgotten."""
        frames = []
        if missing["base"]:
            bundle = snapshot.active.bundle
            config = orjson.loads(canonical_json(snapshot.fusion.config))
            names = {"tasks": bundle.task_names, "features": sorted(bundle.request_features)}
            frames.append(frame({"kind": "base", "base": base, "config": config, **names}))
        for sha256 in missing["networks"]:
            scorer = snapshot.fusion.scorers.get(sha256)
            content = scorer.content if scorer else await self._network(sha256)
            if content is not None:
                frames.append(frame({"kind": "network", "sha256": sha256}, content))
        return frames


def _inside(field: str) -> str:
    return "request" if field == "body" else f"request.{field}"


def _networks_of(config: Mapping[str, Any] | None) -> list[str]:
    """Checksums of networks that a config names, which nobody has judged yet."""
    scenes = (config or {}).get("scenes")
    named = (
        [scene.get("sha256") for scene in scenes.values() if isinstance(scene, dict)]
        if isinstance(scenes, dict)
        else []
    )
    return [name for name in named if isinstance(name, str) and len(name) == 64]
