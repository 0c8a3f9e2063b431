"""Rendering: events of long work on a terminal: stages as lines, counts as bars. Knows no command."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from model.terminal import progress
from training.progress import Advanced, Event, Note, Stage, Warned


class _Rate(ProgressColumn):
    """Units a second."""

    def render(self, task: Task) -> Text:
        unit = task.fields["unit"]
        return Text(f"{task.speed:,.0f} {unit}/s" if task.speed and unit else "", style="cyan")


class Rendered:
    """An observer that prints on stderr: `with Rendered() as observer`. Bars show on a terminal only."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), _Rate(), TimeRemainingColumn())
        self._bars = Progress(*columns, console=progress, transient=True, disable=not progress.is_terminal)
        self._bar: TaskID | None = None
        self._counted = ""

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_bar()
        self._bars.stop()

    def __call__(self, event: Event) -> None:
        """Show an event; subclasses show their own and pass on all else."""
        match event:
            case Stage(title):
                self._end_bar()
                self.print(escape(title))
            case Advanced(what, done, total, unit):
                self.bar(what, done, total, unit, what)
            case Note(text):
                self.print(f"  {escape(text)}")
            case Warned(text):
                self.print(f"  [yellow]warning:[/] {escape(text)}")

    def print(self, text: str) -> None:
        """A line above the bars, in rich's markup."""
        progress.print(text, highlight=False, soft_wrap=True)

    def bar(self, what: str, done: int, total: int | None, unit: str, label: str) -> None:
        """Move the bar of what is counted; where something else is counted now, its bar takes the place."""
        if self._bar is None or what != self._counted:
            self._end_bar()
            self._counted = what
            self._bar = self._bars.add_task(label, completed=done, total=total, unit=unit)
        self._bars.update(self._bar, description=label, completed=done, total=total)

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bars.remove_task(self._bar)
            self._bar = None
