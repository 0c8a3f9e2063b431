"""`fulcrum fusion export` and `import`: the history of a service as files that suit git, and back.

0017.yaml            a revision: who, when and why above, the config below
0017.evidence.json   what was attached to it, if anything was
networks/SHA256.onnx of learned formulas
active               number of the active revision
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from model.errors import FulcrumError
from model.files import check_folder, replace_file
from model.terminal import LOCAL, Json, TokenFile, Url, answer, check_why, print_json, progress
from service.commands.fusion_revisions import scheduled_text
from service.commands.revision_text import plain, read_head, revision_file

if TYPE_CHECKING:
    from model.client.control import Control

_PAGE = 500
_ACTIVE = "active"
_MOST_BYTES = 1 << 20
_MOST_NOTE = 2_000
"""Characters that the service takes."""

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of files, such as one in git.")]


def export(folder: Folder, url: Url = LOCAL, token_file: TokenFile = None, json: Json = False) -> None:
    """Write the revisions of a service as files, one each, so that git keeps and compares them.

    Run again, it adds what is new: a revision never changes. `active` holds the number of the active one.

        fulcrum fusion export history && git add history && git commit -m 'the fusion, as it is'
    """
    from model.client.signed_in import SignedIn

    check_folder(folder, "export to")
    with SignedIn(url, token_file) as service:
        active, known = _revisions(service)
        try:
            (folder / "networks").mkdir(parents=True, exist_ok=True)
            written = [entry["revision"] for entry in known if _exported(service, entry, folder)]
            replace_file(folder / _ACTIVE, f"{active}\n".encode())
        except OSError as error:
            raise FulcrumError(f"export to {folder}: {error.filename}: {error.strerror}") from error
    if json:
        print_json({"active": active, "written": written, "revisions": len(known)})
    else:
        answer.print(
            f"{folder}: {len(written)} written, {len(known) - len(written)} there already; "
            f"revision {active} is active",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _exported(service: Control, entry: Mapping[str, Any], folder: Path) -> bool:
    """Write a revision, unless it is there; whether it was written."""
    from model.client import control

    number = entry["revision"]
    path = folder / f"{number:04d}.yaml"
    if path.exists():
        _check_same(path, entry)
        return False
    for sha256 in entry["networks"]:
        network = folder / "networks" / f"{sha256}.onnx"
        if not network.exists():
            replace_file(network, service.send(control.network(sha256)))
    revision = service.send(control.revision(number))
    if revision["evidence"]:
        evidence = orjson.dumps(revision["evidence"], option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        replace_file(_evidence(path), evidence)
    replace_file(path, revision_file(revision).encode())  # last: what is there is whole
    return True


def import_(
    folder: Folder,
    activate_active: Annotated[
        bool,
        typer.Option(
            "--activate-active", help="Then activate what was active there; give --why. Else nothing changes."
        ),
    ] = False,
    why: Annotated[str | None, typer.Option("--why", help="The reason, for the audit.")] = None,
    url: Url = LOCAL,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Propose to a service what `fulcrum fusion export` wrote, as far as it does not have it.

    Configs are compared by version, so running it again does nothing. Notes are kept, and say whose they are;
    numbers and authors are the service's own. Needs a token with the scope propose.

        fulcrum fusion import history --url http://127.0.0.1:8001 --token-file token
    """
    from model.client import control
    from model.client.signed_in import SignedIn

    if activate_active and why is None:
        raise FulcrumError("--activate-active changes what ranks: say why, with --why TEXT")
    if why is not None:
        check_why(why)
    kept = list(_kept(folder))
    wanted = _wanted(folder, kept) if activate_active else None
    made: list[int] = []
    skipped: list[int] = []
    sent: set[str] = set()
    with SignedIn(url, token_file) as service:
        active, known = _revisions(service)
        numbers = {entry["version"]: entry["revision"] for entry in reversed(known)}
        versions = {one.number: one.version for one in kept}
        for one in kept:
            if one.version in numbers:
                skipped.append(one.number)
                continue
            revision = service.send(
                control.propose(
                    one.config,
                    parent=numbers.get(versions.get(one.parent or 0, "")),
                    note=one.note,
                    networks={name: data for name, data in one.networks.items() if name not in sent},
                    evidence=one.evidence,
                )
            )
            sent |= set(one.networks)
            numbers[one.version] = revision["revision"]
            made.append(one.number)
            if revision["unfit"]:
                progress.print(
                    f"{one.path}: does not fit the bundle that serves: {plain(revision['unfit'])}",
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )
        if wanted is not None and numbers[wanted] != active:
            schedule = service.send(control.revisions(limit=1))["schedule"]
            done = service.send(control.activate(numbers[wanted], if_active=active, why=why or ""))
            active = done["active"]
            if schedule and not done["scheduled"]:
                progress.print(
                    f"no longer scheduled: {scheduled_text(schedule)}",
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )
    if json:
        print_json({"proposed": made, "skipped": skipped, "active": active})
        return
    answer.print(
        f"{len(made)} proposed{_listed(made)}, {len(skipped)} skipped{_listed(skipped)}: the service "
        f"has them; its revision {active} is active",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


@dataclass(frozen=True)
class _Kept:
    """A revision in a folder."""

    path: Path
    number: int
    version: str
    parent: int | None
    note: str
    config: Mapping[str, Any]
    networks: Mapping[str, bytes]
    evidence: Mapping[str, Any] | None


def _kept(folder: Path) -> Iterator[_Kept]:
    """Revisions of a folder, oldest first.

    Raises:
        FulcrumError: there is none, or one of them cannot be used.
    """
    from model.document import read_text
    from model.fusion import canonical_json, parse_fusion, version
    from model.fusion.network_file import read_networks

    if not folder.is_dir():
        raise FulcrumError(f"{folder}: there is no such folder; name one that `fulcrum fusion export` wrote")
    paths = sorted(
        (path for path in folder.iterdir() if re.fullmatch(r"[0-9]{4,}\.yaml", path.name)),
        key=lambda path: int(path.stem),
    )
    if not paths:
        raise FulcrumError(
            f"{folder}: no 0001.yaml and so on in it; expected what `fulcrum fusion export` wrote"
        )
    for path in paths:
        try:
            text = read_text(path, _MOST_BYTES)
            config = parse_fusion(text)
            networks = read_networks(config, folder)
            evidence = _read_evidence(_evidence(path))
        except FulcrumError as error:
            raise FulcrumError(f"{path}: {error}") from None
        head = read_head(text)
        parent = head.get("parent")
        yield _Kept(
            path,
            int(path.stem),
            version(config),
            parent if isinstance(parent, int) else None,
            _note(path, head),
            orjson.loads(canonical_json(config)),
            networks,
            evidence,
        )


def _note(path: Path, head: Mapping[str, Any]) -> str:
    """The note, and whose it is."""
    source = f"(imported from {path.name}, by {head.get('author', 'an unknown author')})"
    note = str(head.get("note") or "")
    return f"{note[: _MOST_NOTE - len(source) - 1]} {source}".strip()[:_MOST_NOTE]


def _read_evidence(path: Path) -> dict[str, Any] | None:
    try:
        found = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, orjson.JSONDecodeError) as error:
        raise FulcrumError(
            f"its {path.name} cannot be read ({error}); export it again, or remove it"
        ) from None
    return found if isinstance(found, dict) else None


def _evidence(path: Path) -> Path:
    return path.with_suffix(".evidence.json")


def _wanted(folder: Path, kept: list[_Kept]) -> str:
    """Version of the revision that was active."""
    path = folder / _ACTIVE
    try:
        number = int(path.read_text())
    except (OSError, ValueError):
        number = 0
    for one in kept:
        if one.number == number:
            return one.version
    raise FulcrumError(
        f"{path}: expected the number of a revision in this folder; leave out --activate-active"
    )


def _check_same(path: Path, entry: Mapping[str, Any]) -> None:
    """Refuse to mix the histories of two services."""
    try:
        found = read_head(path.read_text()).get("version")
    except (OSError, UnicodeDecodeError) as error:
        raise FulcrumError(f"{path}: cannot be read ({error})") from None
    if found != entry["version"]:
        raise FulcrumError(
            f"{path}: holds {str(found)[:19]}, and revision {entry['revision']} of this service is "
            f"{entry['version'][:19]}; export each service to a folder of its own"
        )


def _revisions(service: Control) -> tuple[int, list[dict[str, Any]]]:
    """The active one's number, and all of them, oldest first, without their configs."""
    from model.client import control

    found = service.send(control.revisions(limit=_PAGE))
    known = list(found["revisions"])
    while found["more"]:
        found = service.send(control.revisions(known[-1]["revision"], _PAGE))
        known += found["revisions"]
    return found["active"], known[::-1]


def _listed(numbers: list[int]) -> str:
    """Numbers in brackets, ranges as such."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    words = ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in runs)
    return f" ({words})" if words else ""
