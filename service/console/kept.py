"""What the console keeps of browsers and their tabs, in its memory. Knows no elements.

A tab's id is in the address of its connection and in storage that scripts read; it opens nothing by itself.
What is kept is under the id of the browser too, which is in a cookie that no script and no other site gets.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Browser:
    """One browser.

    Attributes:
        tabs: what is kept of each, by its id.
        on_sign_out: called for each open page when one of them signs out.
        used: when it last was opened, monotonic seconds.
    """

    tabs: dict[str, dict[str, Any]] = field(default_factory=dict)
    on_sign_out: list[Callable[[], object]] = field(default_factory=list)
    used: float = 0.0

    def sign_out(self) -> None:
        """All of its tabs: those that are open, and those that come again."""
        for kept in self.tabs.values():
            kept["token"] = None
        for each in list(self.on_sign_out):
            each()


class Browsers:
    """All browsers.

    Args:
        longest_s: how long something is kept of a tab that is not open, after its last edit.
        clock: monotonic, seconds.
    """

    def __init__(self, longest_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._longest_s, self._clock = longest_s, clock
        self._found: dict[str, Browser] = {}

    def browser(self, name: str) -> Browser:
        """The browser with this id; a new one where nothing is kept of it."""
        self._forget()
        found = self._found.setdefault(name, Browser())
        found.used = self._clock()
        return found

    def _forget(self) -> None:
        least = self._clock() - self._longest_s
        for name, one in list(self._found.items()):
            one.tabs = {tab: kept for tab, kept in one.tabs.items() if kept.get("used", least) >= least}
            if not one.tabs and not one.on_sign_out and one.used < least:
                del self._found[name]
