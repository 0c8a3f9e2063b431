"""`fulcrum experiment layer` and `create`: what deals the traffic, and what is to be compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model.errors import FulcrumError
from model.terminal import LOCAL, Json, TokenFile, Url, answer, print_json
from training.commands.experiment_text import PLAIN, head, layer_line

if TYPE_CHECKING:
    from training.experiments.described import Description

Why = Annotated[str, typer.Option("--why", help="The reason, for the audit.", show_default=False)]


def layer(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits and underscores.")],
    unit: Annotated[
        str, typer.Option("--unit", help="What is dealt into buckets: user, session or request.")
    ] = "user",
    holdout: Annotated[
        str,
        typer.Option("--holdout", metavar="PART", help="In no experiment of it, ever: 2%, or 200 buckets."),
    ] = "0",
    salt: Annotated[
        str | None,
        typer.Option(
            "--salt", help="Of a layer that dealt elsewhere, to deal alike; a new one where absent."
        ),
    ] = None,
    why: Annotated[str, typer.Option("--why", help="The reason, for the audit.")] = "",
    url: Url = LOCAL,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Make a layer, whose experiments exclude one another. A layer stays for ever.

    Experiments of two layers know nothing of each other: a request may be in one of each. One layer for
    fusions and one for bundles is a good start. Needs a token with the scope propose.

        fulcrum experiment layer fusion --holdout 2%
    """
    from model.client import experiments
    from model.client.signed_in import SignedIn
    from training.experiments.described import parts

    if unit not in ("user", "session", "request"):
        raise FulcrumError(f"--unit {unit}: expected user, session or request")
    held = 0 if holdout in ("0", "0%") else parts(holdout, "--holdout")
    with SignedIn(url, token_file) as service:
        made = service.send(experiments.create_layer(name, unit=unit, holdout=held, salt=salt, why=why))
    if json:
        print_json(made)
    else:
        answer.print(layer_line(made), **PLAIN)


def create(
    what: Annotated[
        str, typer.Argument(metavar="FILE|NAME", help="A YAML file; with --canary, the experiment's name.")
    ],
    canary: Annotated[
        bool,
        typer.Option("--canary", help="Two equal arms on a growing share, with guardrails; needs no file."),
    ] = False,
    layer: Annotated[
        str | None, typer.Option("--layer", help="The layer; of a file, in place of the file's.")
    ] = None,
    bundle: Annotated[
        str | None,
        typer.Option("--bundle", metavar="VERSION", help="With --canary: what is new, or its beginning."),
    ] = None,
    revision: Annotated[
        int | None, typer.Option("--revision", metavar="N", help="With --canary: what is new.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size", metavar="PART", help="Buckets of the layer: 20%, or 2000. Of a canary, at the end."
        ),
    ] = None,
    guard: Annotated[
        list[str] | None,
        typer.Option(
            "--guard",
            metavar="COLUMN",
            help="With --canary: a behaviour of the joined log that must not become rarer; may be repeated.",
        ),
    ] = None,
    days: Annotated[float, typer.Option("--days", help="With --canary: until the verdict.")] = 7.0,
    difference: Annotated[
        float,
        typer.Option(
            "--difference", help="With --canary: of the reward, worth finding; such a loss is harm."
        ),
    ] = 0.02,
    on_better: Annotated[
        str | None, typer.Option("--on-better", help="Where an arm is better: activate it, or pause and ask.")
    ] = None,
    note: Annotated[str, typer.Option("--note", help="What it is for.")] = "",
    url: Url = LOCAL,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Make an experiment. It is a draft: it holds its buckets, and nobody takes part before it is started.

    What a file says is in examples/experiment.yaml and examples/canary.yaml. The service checks that every
    arm can be served. Needs a token with the scope propose.

        fulcrum experiment create examples/experiment.yaml
        fulcrum experiment create nightly --canary --layer bundles --bundle sha256:4bd842
    """
    from model.client import experiments
    from model.client.signed_in import SignedIn
    from training.experiments.described import body

    if not canary and (bundle is not None or revision is not None or guard):
        raise FulcrumError(
            "--bundle, --revision and --guard go with --canary; a file says what its arms have"
        )
    if on_better not in (None, "activate", "pause"):
        raise FulcrumError(f"--on-better {on_better}: expected activate or pause")
    with SignedIn(url, token_file) as service:
        if canary:
            if layer is None:
                raise FulcrumError("--canary needs --layer NAME; `fulcrum experiment list` shows the layers")
            whole = None if bundle is None else _version(service, bundle)
            said = _canary(what, layer, whole, revision, size, guard or (), days, difference, on_better, note)
        else:
            said = _read(Path(what), {"layer": layer, "size": size, "on_better": on_better, "note": note})
            _check_metrics(said)
        made = service.send(experiments.create(body(said)))
    if json:
        print_json(made)
        return
    for line in head(made):
        answer.print(line, **PLAIN)
    answer.print(f"start it with: fulcrum experiment start {made['id']} --why TEXT", **PLAIN)


def _read(file: Path, changes: dict[str, Any]) -> Description:
    from model.document import read_document, read_text
    from training.experiments.described import described

    try:
        document = read_document(read_text(file))
    except FulcrumError as error:
        raise FulcrumError(f"{file}: {error}") from None
    if isinstance(document, dict):
        document.update({name: value for name, value in changes.items() if value})
    return described(document, str(file))


def _check_metrics(said: Description) -> None:
    """Refuse what is no expression. Which columns and tasks there are is not known here: `watch` says so, and
    all of it where Polars is not installed."""
    try:
        from training.metrics.reward import check_expression
    except ModuleNotFoundError:
        return
    for name, text in ({} if said.terms is None else said.terms.metrics).items():
        try:
            check_expression(text)
        except FulcrumError as error:
            why = str(error).removeprefix(f"reward {text!r}: ")
            raise FulcrumError(f"terms.metrics.{name}: {text!r}: {why}") from None


def _canary(
    name: str,
    layer: str,
    bundle: str | None,
    revision: int | None,
    size: str | None,
    guards: Any,
    days: float,
    difference: float,
    on_better: Any,
    note: str,
) -> Description:
    from training.experiments.described import canary, parts

    more: dict[str, Any] = {} if size is None else {"size": parts(size, "--size")}
    return canary(
        name,
        layer,
        bundle=bundle,
        revision=revision,
        guards=guards,
        days=days,
        difference=difference,
        on_better=on_better or "pause",
        note=note,
        **more,
    )


def _version(service: Any, beginning: str) -> str:
    """The bundle of the models folder whose version begins so."""
    from model.client import control

    known: list[str] = [one["version"] for one in service.send(control.models())["models"] if one["version"]]
    found = [one for one in known if one.startswith(beginning)]
    if len(found) != 1:
        said, begins = (f"{len(found)} bundles", "begin") if found else ("no bundle", "begins")
        raise FulcrumError(
            f"--bundle {beginning}: {said} of the service's models folder {begins} so; there is "
            f"{', '.join(one[:19] for one in known) or 'none'}"
        )
    return found[0]
