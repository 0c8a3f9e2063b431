"""Changes of a control store as they come about, and what must be true of a store whatever happened."""

from __future__ import annotations

import uuid
from typing import Any

from service.control.audit import AuditEvent
from service.control.state.control import Activation, Change, ControlStore, Document, Revision

__all__ = ["assert_whole", "change_of", "proposal", "propose"]

VERSION = f"sha256:{'ab' * 32}"


def proposal(base: Document | None, author: str = "anna", **more: Any) -> Change:
    """A new revision on top of a document, which becomes active at once."""
    name = uuid.uuid4().hex
    revision, event = (base.revisions + 1, base.events + 1) if base else (1, 1)
    return Change(
        expected=base and base.change,
        document=Document(
            change=name,
            revisions=revision,
            events=event + 1,
            trail=((*base.trail, Activation(revision=revision)) if base else (Activation(revision=1),))[
                -100:
            ],
        ),
        revision=Revision(
            revision=revision,
            version=VERSION,
            parent=base.revisions if base else None,
            author=author,
            origin="proposed",
            note=name,
            time_ms=5,
            summary=("default: vtr weight 0.2 -> 0.4",),
            config={"scenes": {"default": {"vtr": 0.4}}, "made_by": "é" * 40},
        ),
        events=(
            AuditEvent(event=event, time_ms=5, actor=author, action="revision_proposed", why=name),
            AuditEvent(event=event + 1, time_ms=5, actor=author, action="revision_activated", why=name),
        ),
        **more,
    )


def propose(store: ControlStore, author: str = "anna") -> str:
    """Propose until it is taken; the name of the change."""
    for _ in range(1000):
        change = proposal(store.read(), author)
        if store.commit(change):
            return change.document.change
    raise AssertionError("a thousand times somebody else was quicker")


def change_of(store: ControlStore) -> str | None:
    document = store.read()
    return document and document.change


def assert_whole(store: ControlStore) -> list[str]:
    """The document goes with its history, without gaps; names of the changes, oldest first."""
    document = store.read()
    revisions, events = store.revisions(None, 1 << 30)[::-1], store.events(None, 1 << 30)[::-1]
    if document is None:
        assert (revisions, events) == ([], [])
        return []
    assert [one.revision for one in revisions] == list(range(1, document.revisions + 1))
    assert [one.event for one in events] == list(range(1, document.events + 1))
    assert [one.why for one in events] == [one.note for one in revisions for _ in range(2)]
    assert revisions[-1].note == document.change
    assert document.active.revision == document.revisions
    return [one.note for one in revisions]
