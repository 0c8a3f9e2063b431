"""Progress: what long work reports of itself, as typed events, to those who listen. Knows no terminal.

A function that takes long has an `Observer`, which it calls with events. Commands render them, TensorBoard's
curves listen to those of a training, a notebook may print or plot them. An event that only one module has
stands in that module.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """Something that happened."""


@dataclass(frozen=True)
class Stage(Event):
    """A new stage of the work begins, such as reading the log."""

    title: str


@dataclass(frozen=True)
class Advanced(Event):
    """The stage went on."""

    what: str
    """What is counted, such as `predicting`."""
    done: int
    """From 0 to `total`."""
    total: int | None
    """None while it is not known."""
    unit: str = ""
    """Of both, such as `rows`."""


@dataclass(frozen=True)
class Note(Event):
    """Something worth knowing."""

    text: str


@dataclass(frozen=True)
class Warned(Event):
    """Something worth looking at."""

    text: str


Observer = Callable[[Event], None]
"""Called with each event, in the thread that does the work. What it raises ends the work."""


def silent(event: Event) -> None:
    """Listens to nothing."""


def together(*observers: Observer) -> Observer:
    """One observer that passes each event to all of these, in this order."""

    def pass_on(event: Event) -> None:
        for observer in observers:
            observer(event)

    return pass_on
