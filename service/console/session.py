"""One browser tab: whose token it has, and which config it edits. Knows no elements."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any

import orjson

from model.client import control
from model.client.control import RefusedError
from model.errors import FulcrumError, checked
from model.fusion import DEFAULT_SCENE, FusionConfig, FusionError
from model.fusion.changes import changes
from model.fusion.inheritance import resolved
from service.console.watch import Active, Watch

Listener = Callable[[], object]
_SCOPES = frozenset({"read", "propose", "activate", "admin"})


class Session:
    """What a tab knows. It is kept in the console's memory for the tab, so that a reload loses no edit.

    Args:
        watch: of the service.

    Attributes:
        actor: whose token it is; None for one who may only look.
        base: the answer to GET /v1/fusion that the edits began with; None before the first.
        config: the edited config's document.
        scene: which of its scenes is looked at.
        sample_id: of the recent requests that previews are made of.
        lost: whose token the service does not know any more; None where that is not so.
        on_edit, on_base, on_actor, on_change: called when the config was edited, another base was taken,
            someone signed in or out, and something was changed in the service.
    """

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.actor: str | None = None
        self.scopes: frozenset[str] = frozenset()
        self.base: Mapping[str, Any] | None = None
        self.config: dict[str, Any] = {}
        self.scene = DEFAULT_SCENE
        self.sample_id: str | None = None
        self.lost: str | None = None
        self.on_edit: list[Listener] = []
        self.on_base: list[Listener] = []
        self.on_actor: list[Listener] = []
        self.on_change: list[Listener] = []
        self._token: str | None = None
        self._kept: MutableMapping[str, Any] = {}

    async def resume(self, kept: MutableMapping[str, Any]) -> None:
        """Go on with what was kept for the tab, and keep things there from now on.

        Who was signed in stays so while the service is away; only a token that it refuses is given up.

        Args:
            kept: of the console's memory, the tab's own.
        """
        self._kept = kept
        if kept.get("edits"):
            self.base, self.config, self.scene, self.sample_id = orjson.loads(kept["edits"])
        if kept.get("token"):
            self._token, self.actor, self.scopes = kept["token"], kept["actor"], kept["scopes"]
            with contextlib.suppress(FulcrumError):
                await self._who(kept["token"])

    async def send(self, call: control.Call, within_s: float = 30.0) -> Any:
        """Ask the service, as the actor; where it does not know the token any more, as nobody.

        Raises:
            FulcrumError: it refused, or is away.
        """
        token = self._token
        try:
            return await self.watch.service.send(call, token, within_s)
        except RefusedError as error:
            if error.status != HTTPStatus.UNAUTHORIZED or token is None:
                raise
            if self._token == token:
                self._lose()
            return await self.watch.service.send(call, None, within_s)

    async def sign_in(self, token: str) -> None:
        """Ask with this token from now on.

        Raises:
            FulcrumError: the service does not know it, or is away.
        """
        found = await self.watch.service.send(control.actor(), token)
        self._token, self.lost = token, None
        self._is(found)

    def sign_out(self) -> None:
        """Look only."""
        self._token, self.lost = None, None
        self._is({"actor": None, "scopes": ()})

    async def _who(self, token: str) -> None:
        """Whose the kept token is now."""
        found = await self.send(control.actor())
        if self._token == token:
            self._is(found)

    def _lose(self) -> None:
        lost = self.actor
        self.sign_out()
        self.lost = lost

    def _is(self, found: Mapping[str, Any]) -> None:
        scopes = frozenset(found["scopes"])
        self.actor, self.scopes = found["actor"], _SCOPES if "admin" in scopes else scopes
        self._keep()
        _call(self.on_actor)

    def why_not(self, scope: str, revisions: bool = True) -> str | None:
        """Why something that needs a scope, and perhaps revisions, cannot be done now; None where it can."""
        if revisions and self.base is not None and self.base["revision"] is None:
            return "the service keeps no revisions; start it with --control"
        if scope in self.scopes:
            return None
        who = "sign in" if self.actor is None else f"{self.actor} may not"
        return f"needs the scope {scope}: {who}"

    @property
    def active(self) -> Active | None:
        """What the edits are made from."""
        return None if self.base is None else (self.base["revision"], self.base["version"])

    @property
    def stale(self) -> bool:
        """Whether another config is in force than the one that the edits are made from."""
        return self.base is not None and self.watch.active is not None and self.active != self.watch.active

    @property
    def edited(self) -> bool:
        """Whether the config differs from its base."""
        return self.base is not None and self.config != self.base["config"]

    def take_base(self, keep_edits: bool = False) -> None:
        """Begin with the config in force; with what was edited upon the old one, or without."""
        if self.watch.fusion is None:
            return
        new = copy.deepcopy(dict(self.watch.fusion))
        config = copy.deepcopy(new["config"])
        if keep_edits and self.base is not None:
            config = merged(self.base["config"], self.config, config)
        self.base, self.config = new, config
        if self.scene not in config["scenes"]:
            self.scene = DEFAULT_SCENE
        self._keep()
        _call(self.on_base)

    def edit(self, scene: Mapping[str, Any]) -> None:
        """Another document for the scene that is looked at."""
        self.config["scenes"][self.scene] = dict(scene)
        self._keep()
        _call(self.on_edit)

    def replace(self, config: Mapping[str, Any]) -> None:
        """Another config."""
        self.config = copy.deepcopy(dict(config))
        if self.scene not in self.config["scenes"]:
            self.scene = DEFAULT_SCENE
        self._keep()
        _call(self.on_base)

    def look_at(self, scene: str) -> None:
        """Another scene."""
        self.scene = scene
        self._keep()

    def remember_sample(self, sample_id: str | None) -> None:
        """The recent requests to go on with."""
        self.sample_id = sample_id
        self._keep()

    def differences(self) -> list[str]:
        """What was edited, a line each.

        Raises:
            FusionError: the config cannot be used as it is.
        """
        return [] if self.base is None else differences(self.base["config"], self.config)

    def changed(self) -> None:
        """Something was changed in the service: look again."""
        _call(self.on_change)

    def _keep(self) -> None:
        self._kept.update(token=self._token, actor=self.actor, scopes=self.scopes, used=time.monotonic())
        self._kept["edits"] = orjson.dumps([self.base, self.config, self.scene, self.sample_id])


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs between two configs' documents, a line each.

    Raises:
        FusionError: one of them cannot be used.
    """
    return changes(parsed(before), parsed(after))


def parsed(config: Mapping[str, Any]) -> FusionConfig:
    """A config of its document.

    Raises:
        FusionError: it is none.
    """
    try:
        return checked(FusionConfig, resolved(dict(config)))
    except FulcrumError as error:
        raise FusionError(f"fusion config: {error}") from None


def merged(base: Any, edited: Any, onto: Any) -> Any:
    """What was edited upon `base`, upon another document: values that were not edited are its own."""
    if isinstance(base, Mapping) and isinstance(edited, Mapping) and isinstance(onto, Mapping):
        found = dict(onto)
        for key in {**base, **edited}:
            if key not in edited:
                found.pop(key, None)
            elif key not in base or key not in onto:
                if key not in base or edited[key] != base[key]:
                    found[key] = copy.deepcopy(edited[key])
            else:
                found[key] = merged(base[key], edited[key], onto[key])
        return found
    return copy.deepcopy(onto if edited == base else edited)


def _call(listeners: list[Listener]) -> None:
    for listener in listeners:
        listener()
