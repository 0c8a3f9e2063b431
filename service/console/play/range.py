"""A slider as an element: whole positions from 0, reported while it is dragged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui.elements.mixins.value_element import ValueElement


class Range(ValueElement[int], component="range.js"):
    """An input of type range; Quasar's slider gives its name to what cannot be focused.

    Args:
        steps: the last position.
        value: the first.
        name: for people who hear it.
        on_change: called with an event whose `value` is the position, at most twenty times a second.
    """

    VALUE_PROP = "value"
    LOOPBACK = False

    def __init__(self, steps: int, value: int, name: str, on_change: Callable[[Any], None]) -> None:
        super().__init__(value=value, on_value_change=on_change, throttle=0.05)
        self._props["steps"] = steps
        self._props["aria-label"] = name
