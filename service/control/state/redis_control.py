"""The control store in Redis, for several hosts. See `service/control/state/control.py`.

    fulcrum:control:document    the document, JSON
    fulcrum:control:revisions   hash: number -> revision, JSON
    fulcrum:control:networks    hash: checksum -> network
    fulcrum:control:events      hash: number -> name of its change, a space, and the event, JSON
    fulcrum:control:looks       hash: id of an experiment -> looks at it
    fulcrum:control:newest      hash: id of an experiment -> the newest look at it

One script makes a change whole, in Redis and in each replica. A change is acknowledged once one replica has
it, or, where there is no replica, once it is in the append-only file.

What this does not protect from:

- A fail-over to a replica that lacks the newest change, which Sentinel avoids and does not exclude: the older
  document is wanted again, and the history goes on from there. A change that WAIT has confirmed is lost only
  if another replica than the one that has it is promoted.
- A Redis with replicas and without an append-only file that is restarted empty under its own address: its
  replicas copy that. Set `appendonly yes` there, too.
- Who writes these keys by hand.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import redis
import structlog

from model.redis_client import RedisRefusedError, check, connect, explained
from model.redis_url import RedisUrl
from service.control.audit import AuditEvent
from service.control.state.control import Change, Document, Revision
from service.control.state.desired import StateError
from service.control.state.records import dumped, parsed

DOCUMENT, REVISIONS, NETWORKS, EVENTS = KEYS = tuple(
    f"fulcrum:control:{name}" for name in ("document", "revisions", "networks", "events")
)

LOOKS, NEWEST = "fulcrum:control:looks", "fulcrum:control:newest"
"""Not of a change, and not waited for: looks come often, and a lost one decides nothing."""

_TIMEOUT_S = 0.5
_WAIT_MS = 400
"""For a replica; less than an answer may take."""

_COMMIT = """
local expected, mine, document, last_event = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local found = redis.call('GET', KEYS[1])
local change = found and cjson.decode(found).change or ''
if change ~= expected then
    -- Mine, which is named where its answer was lost, may have been made, and others since.
    local event = redis.call('HGET', KEYS[4], last_event) or ''
    if change ~= mine and event:sub(1, #mine + 1) ~= mine .. ' ' then
        return 0
    end
    redis.call('SET', KEYS[1], found)  -- so that WAIT has something of this connection to wait for
    return 1
end
for at = 5, #ARGV, 3 do
    redis.call('HSET', ARGV[at], ARGV[at + 1], ARGV[at + 2])
end
redis.call('SET', KEYS[1], document)  -- at last, since what has failed is not undone
return 1
"""
"""Document, history and events at once, in Redis and in each replica."""

_NEEDED: dict[str, list[str | bytes]] = {
    "INFO": ["replication"],
    "GET": [DOCUMENT],
    "HGET": [REVISIONS, "0"],
    "HMGET": [REVISIONS, "0"],
    "SET": [DOCUMENT, "", "ONLY-TO-ASK"],  # there is no such option: it writes nothing
    "HSET": [REVISIONS, "0", "", "ONLY-TO-ASK"],  # a field without a value: it writes nothing
    "EVAL": ["return 0", "0"],
    "WAIT": ["0", "1"],
}

log = structlog.get_logger(__name__)


class _UnsafeError(Exception):
    """Redis might lose what it acknowledges."""


class RedisControl:
    """The control store in Redis, for several hosts. A method takes two seconds at the very most."""

    def __init__(self, url: RedisUrl) -> None:
        self._url = url
        self._redis = connect(url, _TIMEOUT_S)
        self._known: tuple[bytes, Document] | None = None
        self._warned = False

    @property
    def name(self) -> str:
        """For messages."""
        return f"control store fulcrum:control in {self._url}"

    def check(self) -> None:
        """Refuse a Redis that will not do what is needed; one that is away may yet come. Holds no connection.

        Raises:
            RedisRefusedError: Redis answers, and refuses, or might lose what it acknowledges.
        """
        try:
            evicts = check(self._redis, self.name, _NEEDED)
            doubt = self._doubt(self._redis.info())
        except (redis.AuthenticationError, redis.ResponseError) as error:
            raise RedisRefusedError(f"{self.name}: Redis refuses ({explained(error)})") from None
        except (redis.RedisError, OSError) as error:
            log.error("control_away", control=self.name, error=explained(error))
            return
        finally:
            self.close()
        if doubt:
            raise RedisRefusedError(f"{self.name}: {doubt}")
        if evicts:
            log.warning("control_may_be_lost", control=self.name, why=evicts)

    def read(self) -> Document | None:
        """What is wanted; None while the store is empty."""
        content = self._ask("GET", DOCUMENT)
        if content is None:
            return None
        known = self._known
        if known is None or known[0] != content:
            known = self._known = content, parsed(Document, content, self.name)
        return known[1]

    def commit(self, change: Change) -> bool:
        """Make this change, durably, unless the document is no longer the expected one: then False."""
        lost = False
        for last_try in (False, True):
            sent = False
            try:
                replicas = self._replicas()
                sent = True
                made, confirmed = self._send(_words(change, find=lost), replicas)
            except (redis.RedisError, OSError, _UnsafeError) as error:
                refused = isinstance(error, redis.ResponseError | _UnsafeError)
                lost = lost or (sent and not refused)
                if refused or last_try:
                    why = str(error) if isinstance(error, _UnsafeError) else explained(error)
                    outcome = "it is not known whether the change was made" if lost else "nothing was changed"
                    raise StateError(f"{self.name}: cannot be written ({why}); {outcome}") from None
            else:
                break
        if made and not confirmed:
            raise StateError(
                f"{self.name}: the change was made, but no replica confirmed it within {_WAIT_MS} ms: "
                "it may be lost in a fail-over"
            )
        if not made and lost and not change.events:  # an event would have told it, with others on top of it
            raise StateError(f"{self.name}: changed by another; it is not known whether this change was made")
        return made

    def revision(self, number: int) -> Revision | None:
        """One revision; None where there is none."""
        content = self._ask("HGET", REVISIONS, str(number))
        return None if content is None else parsed(Revision, content, self.name)

    def revisions(self, before: int | None, limit: int) -> list[Revision]:
        """Revisions below `before` (None: all), the newest first, at most `limit`."""
        document = self.read()
        contents = self._below(REVISIONS, document.revisions if document else 0, before, limit)
        return [parsed(Revision, content, self.name) for content in contents]

    def network(self, sha256: str) -> bytes | None:
        """A network; None where there is none."""
        found: bytes | None = self._ask("HGET", NETWORKS, sha256)
        return found

    def events(self, before: int | None, limit: int) -> list[AuditEvent]:
        """Audit events below `before` (None: all), the newest first, at most `limit`."""
        document = self.read()
        contents = self._below(EVENTS, document.events if document else 0, before, limit)
        return [parsed(AuditEvent, content.partition(b" ")[2], self.name) for content in contents]

    def looks(self, experiment: str) -> bytes:
        """What was kept of the looks at an experiment; empty where nothing was."""
        found: bytes | None = self._ask("HGET", LOOKS, experiment)
        return found or b""

    def newest_looks(self, experiments: Collection[str]) -> dict[str, bytes]:
        """The newest look at each of these that has one."""
        names = list(experiments)
        found = self._ask("HMGET", NEWEST, *names) if names else []
        return {name: newest for name, newest in zip(names, found, strict=True) if newest}

    def keep_looks(self, experiment: str, newest: bytes, all_of_them: bytes) -> None:
        """Keep this in place of what was kept of an experiment."""
        try:
            self._redis.hset(LOOKS, experiment, all_of_them)
            self._redis.hset(NEWEST, experiment, newest)
        except (redis.RedisError, OSError) as error:
            raise StateError(f"{self.name}: a look cannot be kept ({explained(error)})") from None

    def close(self) -> None:
        """Give up connections; those that are needed later are opened again."""
        self._redis.connection_pool.disconnect()

    def _below(self, key: str, newest: int, before: int | None, limit: int) -> list[bytes]:
        last = newest if before is None else min(newest, before - 1)
        numbers = range(last, max(0, last - limit), -1)
        found = self._ask("HMGET", key, *numbers) if numbers else []
        return [content for content in found if content is not None]

    def _ask(self, *words: str | int) -> Any:
        try:
            return self._redis.execute_command(*words)
        except (redis.RedisError, OSError) as error:
            raise StateError(f"{self.name}: cannot be read ({explained(error)})") from None

    def _replicas(self) -> int:
        """How many replicas there are, of which one is to confirm a change.

        Raises:
            _UnsafeError: there is none, and the disk would not keep the change.
        """
        info = self._redis.info()
        if doubt := self._doubt(info):
            raise _UnsafeError(doubt)
        return int(info.get("connected_slaves", 0))

    def _send(self, words: list[str | bytes], replicas: int) -> tuple[bool, bool]:
        """Whether the change was made, and whether it is as durable as it should be."""
        # WAIT is about what its own connection has written: a pipeline has one.
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.eval(_COMMIT, len(KEYS), *KEYS, *words)
        if replicas:
            pipeline.execute_command("WAIT", 1, _WAIT_MS)
        made, *confirmed = pipeline.execute(raise_on_error=False)
        if isinstance(made, Exception):
            raise made
        return made == 1, all(isinstance(count, int) and count > 0 for count in confirmed)

    def _doubt(self, info: dict[str, Any]) -> str | None:
        """Why an acknowledged change might be lost; None where a replica or the disk keeps it."""
        if info.get("role") != "master" or info.get("connected_slaves"):
            return None  # a replica refuses to write by itself
        mend = "set appendonly yes and appendfsync always there, or give it a replica"
        if not info.get("aof_enabled"):
            return f"Redis has no replica and no append-only file, and loses acknowledged changes; {mend}"
        try:
            config = self._redis.config_get("*append*")
        except redis.ResponseError as error:
            if not self._warned:
                self._warned = True
                why = f"CONFIG GET: {explained(error)}"
                log.warning("control_durability_unknown", control=self.name, why=why)
            return None
        if config.get("appendfsync") != "always":
            return f"Redis syncs its append-only file {config.get('appendfsync')}; {mend}"
        if config.get("no-appendfsync-on-rewrite") == "yes":
            return (
                "Redis does not sync while it rewrites its append-only file; set no-appendfsync-on-rewrite no"
            )
        return None


def _words(change: Change, find: bool) -> list[str | bytes]:
    """Arguments of the script; with `find`, it looks whether it has made the change before."""
    document = change.document
    words: list[str | bytes] = [
        change.expected or "",
        document.change if find else "-",
        dumped(document),
        str(document.events),
    ]
    if change.revision is not None:
        words += [REVISIONS, str(change.revision.revision), dumped(change.revision)]
    for sha256, content in change.networks.items():
        words += [NETWORKS, sha256, content]
    for event in change.events:
        words += [EVENTS, str(event.event), document.change.encode() + b" " + dumped(event)]
    return words
