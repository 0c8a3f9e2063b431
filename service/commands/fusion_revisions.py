"""`fulcrum fusion list`, `show N` and `audit`: the revisions of a running service, and who did what."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from model.terminal import LOCAL, Json, TokenFile, Url, answer, print_json
from service.commands.revision_text import cut, first_lines, moment, plain, revision_file

if TYPE_CHECKING:
    from model.client.control import Call, Control

_MOST = 80
_PAGE = 500
"""Entries that the service gives in one answer."""

Limit = Annotated[int, typer.Option("--limit", min=1, help="How many, the newest first.")]


def revisions(
    limit: Limit = 20,
    before: Annotated[
        int | None, typer.Option("--before", min=1, metavar="N", help="Only those before this one.")
    ] = None,
    url: Url = LOCAL,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """List the revisions of a service, the newest first: which is active, who made it, what it changed.

    The active one is marked by a star. The service must have been started with --control.

        fulcrum fusion list --limit 5
    """
    from model.client import control
    from model.client.signed_in import SignedIn

    with SignedIn(url, token_file) as service:
        found = _listed(service, control.revisions, "revision", before, limit)
    if json:
        print_json(found)
        return
    table = _table("", "revision", "by", "when (UTC)", "note, and what changed")
    for one in found["revisions"]:
        said = [cut(one["note"], 120)] if one["note"] else []
        said += [f"- {cut(line, 120)}" for line in first_lines(one["summary"], 4)]
        mark = "*" if one["active"] else ""
        row = (mark, str(one["revision"]), cut(one["author"], 20), moment(one["time_ms"]), "\n".join(said))
        table.add_row(*map(Text, row))
    console = narrow()
    console.print(table)
    if found["more"]:
        last = found["revisions"][-1]["revision"]
        console.print(f"older ones: --before {last}", highlight=False)
    for line in standing(found):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def show_revision(number: int | None, url: str, json: bool) -> None:
    """Print a revision, or the active one, as `fusion show` does."""
    from model.client import control
    from model.client.signed_in import SignedIn

    with SignedIn(url) as service:
        if number is None:
            number = service.send(control.revisions(limit=1))["active"]
        found = service.send(control.revision(number))
    if json:
        print_json(found)
    else:
        sys.stdout.write(revision_file(found))


def audit(
    limit: Limit = 20,
    url: Url = LOCAL,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Show who changed what, and why, the newest first.

    Needs a token with the scope read.

        FULCRUM_TOKEN=... fulcrum fusion audit --limit 50
    """
    from model.client import control
    from model.client.signed_in import SignedIn

    with SignedIn(url, token_file) as service:
        found = _listed(service, control.audit, "event", None, limit)
    if json:
        print_json(found)
        return
    table = _table("", "when (UTC)", "by", "what was done", "why")
    for one in found["events"]:
        done = f"{one['action'].replace('_', ' ')}\n{_change(one['before'], one['after'])}"
        row = (str(one["event"]), moment(one["time_ms"]), cut(one["actor"], 20), done, cut(one["why"], 200))
        table.add_row(*map(Text, row))
    narrow().print(table)


def standing(found: Mapping[str, Any]) -> list[str]:
    """What is wanted besides the active revision: a schedule, a bundle."""
    lines = []
    if schedule := found["schedule"]:
        lines.append(f"scheduled: {scheduled_text(schedule)}")
    if found["bundle"]:
        lines.append(f"bundle: {found['bundle'][:19]}, kept to; else the newest serves")
    return lines


def scheduled_text(schedule: Mapping[str, Any]) -> str:
    """An activation that is to come, in a line: what, when, by whom, why."""
    bundle = f" with bundle {schedule['bundle'][:19]}" if schedule["bundle"] else ""
    return (
        f"revision {schedule['revision']}{bundle} at {moment(schedule['at_ms'])} UTC, by "
        f"{plain(schedule['actor'])}, if {schedule['if_active']} is active then: {plain(schedule['why'])}"
    )


def narrow() -> Console:
    """The terminal, at most 80 columns wide."""
    return Console(width=min(_MOST, answer.width))


def _listed(
    service: Control, ask: Callable[[int | None, int], Call], kind: str, before: int | None, limit: int
) -> dict[str, Any]:
    """The service's list, whose pages are put together."""
    found: dict[str, Any] = service.send(ask(before, min(limit, _PAGE)))
    listed = found[f"{kind}s"]
    while found["more"] and len(listed) < limit:
        page = service.send(ask(listed[-1][kind], min(limit - len(listed), _PAGE)))
        listed += page[f"{kind}s"]
        found["more"] = page["more"]
    return found


def _table(*headers: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for header in headers:
        table.add_column(header, overflow="fold")
    return table


def _change(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    """Of an event: `17 -> 18`, with the bundle where one came along; of an experiment `id: 100 -> 500`."""
    of = (after or before or {}).get("id") or (after or {}).get("name", "")

    def named(side: Mapping[str, Any] | None) -> str:
        side = side or {}
        if of:
            return plain(str(side.get("state", side.get("ramp", ""))))
        bundle = side.get("bundle")
        return plain(f"{side.get('revision', '')}{f' with {bundle[:19]}' if bundle else ''}")

    line = " -> ".join(filter(None, (named(before), named(after))))
    return ": ".join(filter(None, (plain(str(of)), line)))
