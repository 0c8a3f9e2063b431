"""Revisions: how configs of the fusion are proposed, activated and rolled back. Knows neither HTTP nor what a
worker runs; whether a config fits a bundle is asked of `Fits`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal
from uuid import uuid4

import orjson

from model.errors import FulcrumError
from model.fusion import FusionConfig, canonical_json, parse_fusion, version
from model.fusion.changes import changes
from service.control.ledger import SYSTEM, Ledger, StaleError
from service.control.state.control import Activation, Change, Document, Revision

_MOST_LINES = 50

Fits = Callable[[Activation], None]
"""Raises FusionError where what is to become active cannot serve."""


class UnknownRevisionError(FulcrumError):
    """The store holds no such revision."""


class Revisions(Ledger):
    """The revisions of a store. Each method raises StateError where it cannot be read or written."""

    def seed(
        self,
        config: FusionConfig,
        origin: Literal["bundle", "file"],
        source: str,
        networks: Mapping[str, bytes],
    ) -> Document:
        """What is wanted; an empty store takes this config as active revision 1."""
        while (document := self.store.read()) is None:
            first = Revision(
                revision=1,
                version=version(config),
                parent=None,
                author=SYSTEM,
                origin=origin,
                note=f"in force when the store was empty: {source}",
                time_ms=self.now_ms(),
                summary=(),
                networks=tuple(networks),
                config=orjson.loads(canonical_json(config)),
            )
            active = Activation(revision=1)
            event = self.event(1, SYSTEM, "store_seeded", None, {"revision": 1}, source)
            file_version = first.version if origin == "file" else None
            document = Document(
                change=uuid4().hex, revisions=1, events=1, trail=(active,), file_version=file_version
            )
            if self.store.commit(Change(None, document, first, networks, [event])):
                return document
        return document

    def get(self, number: int) -> Revision:
        """One revision.

        Raises:
            UnknownRevisionError: there is none of that number.
        """
        found = self.store.revision(number)
        if found is None:
            document = self.store.read()
            newest = document.revisions if document else 0
            raise UnknownRevisionError(
                f"there is no revision {number}; the newest is {newest}, see GET /v1/fusion/revisions"
            )
        return found

    def propose(
        self,
        actor: str,
        config: FusionConfig,
        parent: int | None = None,
        note: str = "",
        networks: Mapping[str, bytes] | None = None,
        evidence: dict[str, Any] | None = None,
    ) -> Revision:
        """Write a config down as the newest revision; the active one stays.

        Args:
            actor: who does it.
            config: parsed; its networks were tried.
            parent: what it was made from; None for the active one.
            note: what it is for.
            networks: those that it names and the store may lack, by checksum; others are left out.
            evidence: of a replay, an estimate.

        Raises:
            UnknownRevisionError: there is no such parent.
            StaleError: it says what its parent says.
        """
        made: list[Revision] = []
        named = {name: content for name, content in (networks or {}).items() if name in networks_of(config)}

        def make(document: Document) -> Change:
            base = self.get(document.active.revision if parent is None else parent)
            revision = self.made(document, base, config, actor, "proposed", note, evidence)
            if revision.version == base.version:
                raise StaleError(f"nothing would change: revision {base.revision} has the same config")
            made.append(revision)
            after = {"revision": revision.revision, "version": revision.version, "parent": base.revision}
            return self.recorded(document, actor, "revision_proposed", None, after, note, revision, named)

        self.change(make)
        return made[-1]

    def activate(
        self,
        actor: str,
        number: int,
        if_active: int,
        why: str,
        bundle: str | None = None,
        fits: Fits = lambda _: None,
    ) -> tuple[int, Document]:
        """Make a revision the active one: the revision that was before, and what is wanted now.

        Args:
            actor: who does it.
            number: of the revision.
            if_active: the revision that must be active now.
            why: for the audit.
            bundle: version of a bundle that comes into force with it; None leaves what is wanted.
            fits: asked before anything is written.

        Raises:
            UnknownRevisionError: there is none of that number.
            StaleError: another one is active, or it is active already.
            FusionError: of `fits`.
        """
        before: list[int] = []

        def make(document: Document) -> Change:
            self.get(number)
            self.expect(if_active, document)
            active = document.active
            wanted = Activation(revision=number, bundle=bundle or active.bundle, together=bundle is not None)
            if wanted == active or (number == active.revision and bundle in (None, active.bundle)):
                raise StaleError(f"revision {number} is active already")
            fits(wanted)
            before.append(active.revision)
            return self.activation(document, actor, "revision_activated", (*document.trail, wanted), why)

        document = self.change(make)
        return before[-1], document

    def want_bundle(self, actor: str, bundle: str, why: str = "") -> Document:
        """Want this bundle from now on, with the active revision."""

        def make(document: Document) -> Change:
            wanted = Activation(revision=document.active.revision, bundle=bundle)
            trail = (*document.trail, wanted)
            return self.activation(document, actor, "bundle_activated", trail, why)

        return self.change(make)

    def rollback(
        self, actor: str, if_active: int, why: str, fits: Fits = lambda _: None
    ) -> tuple[int, Document]:
        """Go back to the revision that was active before this one: what was active, and what is wanted now.

        Twice goes two back, never to and fro. A bundle that came with the revision, or that an experiment
        decided for, goes back; one that was activated apart stays.

        Raises:
            StaleError: another revision is active, or there is none before it.
            FusionError: of `fits`.
        """
        before: list[int] = []

        def make(document: Document) -> Change:
            self.expect(if_active, document)
            active, at, wanted = document.active, document.before_at, document.back
            if at is None or wanted is None:
                raise StaleError(f"no revision was active before {active.revision}")
            fits(wanted)
            before.append(active.revision)
            return self.activation(
                document, actor, "revision_rolled_back", (*document.trail[:at], wanted), why
            )

        document = self.change(make)
        return before[-1], document

    def record_file(self, config: FusionConfig, source: str, networks: Mapping[str, bytes]) -> Document:
        """Write an edit of the fusion file down. It becomes active where the active revision came from it."""
        edited = version(config)

        def make(document: Document) -> Change | None:
            if document.file_version == edited:
                return None
            base = self.get(document.active.revision)
            changed = document.model_copy(update={"file_version": edited})
            if base.version == edited:
                return self.recorded(
                    changed, SYSTEM, "file_edited", None, {"revision": base.revision}, source
                )
            revision = self.made(changed, base, config, SYSTEM, "file", f"edit of {source}", None)
            active = base.origin == "file"
            after = {"revision": revision.revision, "version": edited, "active": active}
            before = {"revision": base.revision}
            if not active:
                why = f"{source}; not active, as revision {base.revision} came from elsewhere"
                return self.recorded(changed, SYSTEM, "file_edited", before, after, why, revision, networks)
            trail = (*changed.trail, Activation(revision=revision.revision, bundle=document.active.bundle))
            return self.activation(
                changed,
                SYSTEM,
                "file_edited",
                trail,
                source,
                before=before,
                after=after,
                revision=revision,
                networks=networks,
            )

        return self.change(make)

    def made(
        self,
        document: Document,
        base: Revision,
        config: FusionConfig,
        author: str,
        origin: Literal["file", "proposed"],
        note: str,
        evidence: dict[str, Any] | None,
    ) -> Revision:
        """The next revision after a document, as it would be written down."""
        lines = changes(config_of(base), config)
        if len(lines) > _MOST_LINES:
            lines = [*lines[:_MOST_LINES], f"and {len(lines) - _MOST_LINES} more"]
        return Revision(
            revision=document.revisions + 1,
            version=version(config),
            parent=base.revision,
            author=author,
            origin=origin,
            note=note,
            time_ms=self.now_ms(),
            summary=tuple(lines),
            networks=tuple(networks_of(config)),
            evidence=evidence,
            config=orjson.loads(canonical_json(config)),
        )


def config_of(revision: Revision) -> FusionConfig:
    """The config of a revision.

    Raises:
        FusionError: this version of Fulcrum does not know a part of it.
    """
    return parse_fusion(orjson.dumps(revision.config).decode(), source=f"revision {revision.revision}")


def networks_of(config: FusionConfig) -> list[str]:
    """Checksums of the networks that a config names."""
    found = (getattr(scene, "sha256", None) for scene in config.scenes.values())
    return list(dict.fromkeys(sha256 for sha256 in found if sha256))
