"""The terminal: results on stdout, progress on stderr, and what commands share. Knows no command.

Commands import what they need when they are called: a command line that loaded torch to print its help would
be slow, and could not serve where there is no torch.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from model.errors import FulcrumError

LOCAL = "http://127.0.0.1:8000"
"""Where `fulcrum serve` listens unless another address is given."""

progress = Console(stderr=True, width=None if sys.stderr.isatty() else 120)
answer = Console(width=None if sys.stdout.isatty() else 120)

Data = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Folder of the log; the recipes demo and bench make their own.", show_default=False
    ),
]
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder that `fulcrum train` wrote.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a recipe value, such as training.epochs=1."),
]

Url = Annotated[str, typer.Option("--url", help="Where the service listens.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="File with your token; the variable FULCRUM_TOKEN where absent.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Why = Annotated[str, typer.Option("--why", help="The reason, for the audit.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; a pipe is never asked.")]
IfActive = Annotated[
    int | None,
    typer.Option(
        "--if-active",
        metavar="M",
        help="Only if this revision is active; the one that is active now where absent.",
        show_default=False,
    ),
]


def check_why(why: str) -> None:
    """Raise FulcrumError where a reason is empty."""
    if not why.strip():
        raise FulcrumError("--why is empty: say why, for the audit")


def describe(lines: Iterable[str]) -> None:
    """Print on stderr what a change will do."""
    for line in lines:
        progress.print(line, highlight=False, markup=False, soft_wrap=True)


def confirm(question: str, yes: bool) -> None:
    """Ask a person on a terminal, unless `yes`; a no ends the command with status 1."""
    if not yes and sys.stdin.isatty() and not typer.confirm(question, err=True):
        progress.print("nothing was changed")
        raise typer.Exit(1)


def print_json(value: Any) -> None:
    """Print one JSON object on stdout."""
    print(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode())  # noqa: T201


def print_table(
    console: Console, headers: Sequence[str], rows: Sequence[Sequence[str | Text]], keys: int
) -> None:
    """Print a table; where the console is too narrow for all columns, several below each other.

    Args:
        console: where to.
        headers: of the columns.
        rows: a cell per column each.
        keys: the number of columns that name a row; each table begins with them.
    """
    unbounded, start = console.options.update(max_width=sys.maxsize), keys
    while start < len(headers):
        for stop in range(len(headers), start, -1):
            table = Table(*headers[:keys], *headers[start:stop], box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
            for row in rows:
                table.add_row(*row[:keys], *row[start:stop])
            if console.measure(table, options=unbounded).maximum <= console.width:
                break
        console.print(table)
        start = stop


@contextmanager
def extra(name: str) -> Iterator[None]:
    """A command whose extra is not installed says so, and how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        root = (error.name or "").partition(".")[0]
        if root in {"model", "training", "service"}:
            raise
        raise FulcrumError(
            f"this command needs the extra `{name}`, of which {root!r} is not installed: "
            f"pip install '.[{name}]' -c constraints.txt"
        ) from error
