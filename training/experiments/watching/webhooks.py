"""Webhooks: what happened to experiments, posted to an address; at least once, late rather than never.

What is posted is how an experiment differs from what was posted of it last, which a file remembers: whoever
was killed between an action and its message posts it at the next look, and changes that people make are
posted, too. A thread does it, so that nothing waits for the address. Knows no looks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from pathlib import Path
from threading import Lock
from typing import Any

import httpx
import orjson

from model.client.connection import is_here
from model.errors import FulcrumError
from model.experiments import Experiment
from model.files import read_file, replace_file

TRIES, TIMEOUT_S, BETWEEN_S = 3, 10.0, 2.0
"""Of a message at one look; the next look tries again."""
_MOST_BYTES = 16 << 20
Post = Callable[[bytes], None]
"""Delivers JSON, or raises OSError or httpx.HTTPError."""


def posts(url: str) -> Post:
    """To an address.

    Raises:
        FulcrumError: it is none.
    """
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL:
        address = httpx.URL()
    if address.scheme not in ("http", "https") or not address.host:
        raise FulcrumError("--webhook: not an address; expected such as https://example.org/hooks/fulcrum")
    here = is_here(address.host)

    def post(content: bytes) -> None:
        headers = {"content-type": "application/json"}
        answer = httpx.post(address, content=content, headers=headers, timeout=TIMEOUT_S, trust_env=not here)
        answer.raise_for_status()

    return post


class Webhooks:
    """Posts what changed.

    Args:
        path: of the file of what was posted.
        post: delivers; it is called in a thread.
        failed: called with a line where a message was not taken, in that thread.
        between_s: seconds between tries.
    """

    def __init__(
        self,
        path: Path,
        post: Post,
        failed: Callable[[str], None],
        between_s: float = BETWEEN_S,
    ) -> None:
        self._path, self._post, self._failed, self._between_s = path, post, failed, between_s
        self._thread = ThreadPoolExecutor(1, "webhooks")
        self._sending: dict[str, Future[None]] = {}
        self._lock = Lock()

    def report(self, experiments: Sequence[Experiment]) -> None:
        """Post how they changed, in a thread. The first time of all, they are taken as posted."""
        posted = self._read()
        if posted is None:
            self._write({one.id: _state(one) for one in experiments})
            return
        self._sending = {name: future for name, future in self._sending.items() if not future.done()}
        for one in experiments:
            before = posted.get(one.id, {"state": "draft", "ramp": one.ramp, "outcome": None})
            if one.id not in self._sending and (what := _changes(before, _state(one))):
                self._sending[one.id] = self._thread.submit(self._deliver, one, what)

    def wait(self, seconds: float) -> None:
        """Wait until all that was to be posted is, or was refused."""
        wait_for(self._sending.values(), seconds)

    def close(self) -> None:
        """Give up what is not yet posted: the next one posts it."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _deliver(self, one: Experiment, what: list[str]) -> None:
        message = {
            "experiment": one.id,
            "layer": one.layer,
            "changes": what,
            "edition": one.edition,
            **_state(one),
            "arms": [arm.name for arm in one.arms],
            "note": one.note,
        }
        for number in range(TRIES):
            try:
                self._post(orjson.dumps(message))
                break
            except (OSError, httpx.HTTPError) as error:
                if number + 1 == TRIES:
                    self._failed(
                        f"webhook: {one.id} {' and '.join(what)}: not taken ({error}); tried again later"
                    )
                    return
                time.sleep(self._between_s)
        self._write({**(self._read() or {}), one.id: _state(one)})

    def _read(self) -> dict[str, Any] | None:
        try:
            document: dict[str, Any] = orjson.loads(read_file(self._path, _MOST_BYTES))
        except FileNotFoundError:
            return None
        except (OSError, orjson.JSONDecodeError) as error:
            raise FulcrumError(f"{self._path}: cannot be read ({error}); move it away") from error
        return document

    def _write(self, posted: Mapping[str, Any]) -> None:
        with self._lock:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, orjson.dumps(posted), durable=True)


def _state(one: Experiment) -> dict[str, Any]:
    outcome = None if one.outcome is None else one.outcome.model_dump(mode="json")
    return {"state": one.state, "ramp": one.ramp, "outcome": outcome}


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In words: `running`, `ramped`, `paused`, `stopped`, `draft`."""
    found = [now["state"]] if now["state"] != before["state"] else []
    if now["ramp"] != before["ramp"]:
        found.append("ramped")
    return found or (["outcome"] if now["outcome"] != before["outcome"] else [])
