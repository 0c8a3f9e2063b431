"""`fulcrum fusion propose`: a config becomes a revision of a running service, with what a log says of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from model.errors import FulcrumError, printable
from model.terminal import LOCAL, Json, TokenFile, Url, answer, extra, print_json, progress
from training.commands.fusion_sides import side_of_file, side_of_revision
from training.commands.rendering import Rendered

if TYPE_CHECKING:
    from model.client.control import Control

MOST_EVIDENCE_BYTES = 256 * 1024
"""That the service takes, as JSON."""
_OF_PERSONS = ("examples", "movers")
"""Parts of a diff that name items and requests. Anyone may read a revision; these need a scope elsewhere."""


def propose(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A fusion config, its networks beside it.")],
    note: Annotated[str, typer.Option("--note", help="What it is for.", show_default=False)] = "",
    parent: Annotated[
        int | None,
        typer.Option(
            "--parent",
            metavar="N",
            help="The revision that it was made from; the active one where absent.",
            show_default=False,
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            "--log",
            metavar="OUT",
            help="Attach what this log says of it against the active revision: what `fulcrum events join` "
            "wrote.",
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle", metavar="BUNDLE", help="With --log: the bundle that served; attach the estimate, too."
        ),
    ] = None,
    open_too: Annotated[
        bool,
        typer.Option("--open", help="With --bundle: also impressions whose windows were open when joined."),
    ] = False,
    scene: Annotated[
        str | None,
        typer.Option(
            "--scene",
            help="With --log: whose requests count. Where absent, all are replayed, and the estimate is of "
            "those of the scene default.",
        ),
    ] = None,
    url: Url = LOCAL,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Make a config a revision of a service. Nothing ranks by it before it is activated.

    With --log, what `fulcrum fusion diff` says is attached as evidence; with --bundle, too, what `fulcrum
    estimate` says. Names of items and requests are left out. Needs a token with the scope propose.

        fulcrum fusion show current > mine.yaml
        fulcrum fusion propose mine.yaml --note "shares count more" --log joined --bundle build/bundle
    """
    from model.client import control
    from model.client.signed_in import SignedIn
    from model.fusion import canonical_json, load_fusion
    from model.fusion.network_file import read_networks

    if bundle is not None and log is None:
        raise FulcrumError("--bundle is for the estimate, which needs a log: give --log OUT, or leave it out")
    if open_too and bundle is None:
        raise FulcrumError("--open is for the estimate: give --log OUT and --bundle BUNDLE, or leave it out")
    config = load_fusion(file)
    try:
        networks = read_networks(config, file.parent)
    except FulcrumError as error:
        raise FulcrumError(f"{file}: {error}") from None
    with SignedIn(url, token_file) as service:
        evidence = None if log is None else _evidence(service, file, log, bundle, scene, open_too)
        made = service.send(
            control.propose(
                orjson.loads(canonical_json(config)),
                parent=parent,
                note=note,
                networks=networks,
                evidence=evidence,
            )
        )
    if json:
        print_json(made)
    else:
        number = made["revision"]
        answer.print(f"revision {number}, of {made['parent']}, by {printable(made['author'])}", **_PLAIN)
        for line in made["summary"]:
            answer.print(f"  {printable(line)}", **_PLAIN)
        if not made["unfit"]:
            answer.print(f"activate it with: fulcrum fusion activate {number} --why TEXT", **_PLAIN)
    if made["unfit"]:
        progress.print(f"it does not fit the bundle that serves: {made['unfit']}", **_PLAIN)


_PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}


def _evidence(
    service: Control, file: Path, log: Path, bundle: Path | None, scene: str | None, open_too: bool
) -> dict[str, Any]:
    """What a log says of a config against the active revision, no larger than the service takes.

    Raises:
        FulcrumError: it says nothing; how to go on is said, too.
    """
    from model.client.control import RefusedError, UnreachableError

    try:
        return bounded(_said_by(service, file, log, bundle, scene, open_too))
    except (RefusedError, UnreachableError):
        raise
    except FulcrumError as error:
        as_it_is = "take open windows as they are with --open, or " if bundle and not open_too else ""
        raise FulcrumError(
            f"{error}. Nothing was proposed: {as_it_is}leave out --log to propose without evidence"
        ) from None


def _said_by(
    service: Control, file: Path, log: Path, bundle: Path | None, scene: str | None, open_too: bool
) -> dict[str, Any]:
    from model.client import control

    with extra("training"):
        from training.commands.estimate import estimated
        from training.tuning.diff import Wanted, diff_of_log
        from training.tuning.joined_log import JoinedLog
    active = service.send(control.revisions(limit=1))["active"]
    joined = JoinedLog(log, scene)
    before, after = side_of_revision(service, active), side_of_file(file)
    found: dict[str, Any] = {}
    with Rendered() as observer:
        found["diff"] = diff_of_log(joined, before, after, Wanted(examples=0), observer)
        if bundle is not None:
            from model.bundle import load_bundle
            from model.fusion import DEFAULT_SCENE

            served = load_bundle(bundle)
            of = scene or DEFAULT_SCENE
            found["estimate"] = estimated(
                served, log, (after, before), observer, scene=of, open_too=open_too
            )[1]
    for name in _OF_PERSONS:
        found["diff"].pop(name)
    plain: dict[str, Any] = orjson.loads(orjson.dumps(found, option=orjson.OPT_SERIALIZE_NUMPY))
    return plain


def bounded(evidence: dict[str, Any], most_bytes: int = MOST_EVIDENCE_BYTES) -> dict[str, Any]:
    """Evidence without its largest parts, as far as it must be smaller; `left_out` names them.

    Args:
        evidence: by kind, and in it by part.
        most_bytes: as JSON.
    """
    kept = {kind: dict(parts) for kind, parts in evidence.items()}
    left_out: list[str] = []
    while len(orjson.dumps({**kept, "left_out": left_out})) > most_bytes:
        _, kind, part = max(
            (len(orjson.dumps(value)), kind, part)
            for kind, parts in kept.items()
            for part, value in parts.items()
        )
        del kept[kind][part]
        left_out.append(f"{kind}.{part}")
    if not left_out:
        return evidence
    progress.print(f"evidence: without {', '.join(left_out)}, as it would be too large", **_PLAIN)
    return {**kept, "left_out": left_out}
