"""Revisions for people: a config as a file that says where it comes from, and what is read back from one.

Knows no HTTP and no terminal. What others wrote, such as notes, is never taken for more than text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from model.document import read_document, write_document
from model.errors import FulcrumError

_MOST_SUMMARISED = 50


def revision_file(revision: Mapping[str, Any]) -> str:
    """A revision as YAML that `load_fusion` reads, with what else is known of it as a comment above.

    The same revision gives the same text, whether it is active or not.
    """
    head = {
        "revision": str(revision["revision"]),
        "version": revision["version"],
        "parent": "null" if revision["parent"] is None else str(revision["parent"]),
        "author": quoted(revision["author"]),
        "origin": quoted(revision["origin"]),
        "time": moment(revision["time_ms"], "milliseconds"),
        "note": quoted(revision["note"]),
    }
    lines = [f"{key}: {value}" for key, value in head.items()]
    for key, of in (
        ("changes", revision["summary"]),
        ("evidence", evidence_lines(revision.get("evidence") or {})),
    ):
        said = [f"- {quoted(line)}" for line in of][:_MOST_SUMMARISED]
        lines += [f"{key}:", *said] if said else []
    config = revision["config"]
    first = {"schema_version": config["schema_version"]} if "schema_version" in config else {}
    return "".join(f"# {line}\n" for line in lines) + write_document({**first, **config})


def read_head(text: str) -> dict[str, Any]:
    """What `revision_file` wrote above a config; empty where there is nothing of the kind."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("# "):
            break
        lines.append(line.removeprefix("# "))
    try:
        found = read_document("\n".join(lines))
    except FulcrumError:
        return {}
    return found if isinstance(found, dict) else {}


def evidence_lines(evidence: Mapping[str, Any]) -> Iterator[str]:
    """What `fulcrum fusion propose --log` attached, in a line each; of all else its name."""
    for name, found in evidence.items():
        known = {"diff": _replayed, "estimate": _estimated}.get(name)
        try:
            yield f"{name}: {known(found)}" if known else name
        except (KeyError, TypeError, ValueError):  # whoever proposes may attach anything
            yield name


def _replayed(found: Any) -> str:
    change, reward = found["change"], found["reward"]
    requests = found["source"]["requests"]
    return (
        f"over {requests:,} {'request' if requests == 1 else 'requests'} another item comes first in "
        f"{_percent(change['first']['mean'])}, {_percent(change['share']['mean'])} of the first "
        f"{found['top']:d} items change; predicted reward {_signed(reward['relative'])}"
    )


def _estimated(found: Any) -> str:
    if found["refused"]:
        return f"the log cannot say: {found['reason']}"
    low, high = found["interval"]
    return f"reward {_signed(found['difference'])} [{_signed(low)} to {_signed(high)}]"


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:.1%}"


def _signed(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+.2%}"


def moment(time_ms: int, to: str = "minutes") -> str:
    """UTC; as far as a clock has such a time."""
    try:
        when = datetime.fromtimestamp(time_ms / 1000, UTC)
    except (OverflowError, OSError, ValueError):
        return f"{time_ms} ms"
    return when.isoformat(" " if to == "minutes" else "T", to).replace(
        "+00:00", "" if to == "minutes" else "Z"
    )


def quoted(text: str) -> str:
    """Text in quotes, on one line, of printable characters alone; YAML and JSON."""
    return _escaped(json.dumps(text, ensure_ascii=False))


def plain(text: str) -> str:
    """Text on one line, of printable characters alone: what others wrote must not steer a terminal."""
    return _escaped(" ".join(text.split()))


def cut(text: str, most: int) -> str:
    """At most so many characters of `plain` text."""
    line = plain(text)
    return line if len(line) <= most else f"{line[: most - 3]}..."


def first_lines(lines: Iterable[str], most: int) -> list[str]:
    """The first lines, and how many more there are."""
    known = list(lines)
    return known if len(known) <= most else [*known[: most - 1], f"and {len(known) - most + 1} more"]


def _escaped(line: str) -> str:
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in line)
