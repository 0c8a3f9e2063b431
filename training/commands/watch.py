"""`fulcrum watch`: the controller of experiments: looks at what runs, ramps it, decides it, rolls it back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from model.errors import FulcrumError
from model.terminal import LOCAL, Json, TokenFile, Url, extra, print_json, progress
from training.commands.rendering import Rendered

if TYPE_CHECKING:
    from training.experiments.watching.controller import Controller, Round

_HOOKS_S = 30.0
"""That `--once` waits for webhooks at its end."""


def watch(
    events: Annotated[
        str,
        typer.Option(
            "--events",
            metavar="DIR | kafka://...",
            help="What `fulcrum serve --events` writes to.",
        ),
    ],
    url: Url = LOCAL,
    once: Annotated[bool, typer.Option("--once", help="Look once and end, as for cron.")] = False,
    look_every: Annotated[
        float, typer.Option("--look-every", metavar="SECONDS", min=1.0, help="Between looks.")
    ] = 60.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done; change and publish nothing.")
    ] = False,
    webhook: Annotated[
        str | None,
        typer.Option(
            "--webhook", metavar="URL", help="POST a JSON object there for whatever happens to experiments."
        ),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(
            "--work",
            metavar="DIR",
            help="The joined log, and what is remembered between looks; EVENTS-watch beside the folder of "
            "events where absent.",
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            metavar="BUNDLE",
            help="Whose recipe says what a reward is and what its tasks' labels are, for metrics that name "
            "them.",
        ),
    ] = None,
    reward: Annotated[
        str | None,
        typer.Option(
            "--reward",
            metavar="EXPRESSION",
            help="What an impression is worth where an experiment does not say, such as "
            "'is_click + 15 * is_share'; the recipe's of --bundle where absent.",
        ),
    ] = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Watch the experiments of a service: seal and join its events, judge what runs, and do what follows.

    An arm that does harm by a guardrail or by the primary metric is rolled back: all get what is active. One
    that is better is activated or left for people to decide, as the experiment says. Ramps grow by plan while
    nothing alarms. Each look is published with the experiment. The token needs the scopes read and activate.

    It may be killed at any moment, started again, or run from cron with --once; two of them do nothing twice.
    While it is away, the service goes on as it is. With --json, each look is one JSON object in a line.
    With --once, the exit status is 1 where anything did not work; what could be judged was.

        fulcrum watch --url http://127.0.0.1:8000 --events own/events --bundle own/bundle
        fulcrum watch --url http://127.0.0.1:8000 --events own/events --once --dry-run
    """
    with extra("training"):
        from training.experiments.watching.controller import Controller, Joined
        from training.experiments.watching.measures import Measures
        from training.experiments.watching.webhooks import Webhooks, posts
    from model.client.signed_in import SignedIn
    from model.events.kafka import KafkaUrl, folder_or_kafka
    from model.files import check_folder

    place = folder_or_kafka(events)
    if work is None:
        if isinstance(place, KafkaUrl):
            raise FulcrumError("--events kafka://...: give --work DIR, where events are read to and joined")
        work = place.absolute().with_name(f"{place.absolute().name}-watch")
    check_folder(work, "--work")
    schema = None
    if bundle is not None:
        from model.bundle import load_bundle

        schema = load_bundle(bundle).schema
    hooks = None
    if webhook is not None:
        hooks = Webhooks(work / "webhooks.json", posts(webhook), _problem)
    with SignedIn(url, token_file) as service, Rendered() as observer:
        controller = Controller(
            service,
            Joined(place, work / "joined"),
            Measures(schema, reward),
            work,
            now_ms=lambda: time.time_ns() // 1_000_000,
            webhooks=hooks,
            dry_run=dry_run,
            observer=_Quiet(observer),
        )
        try:
            well = _looks(controller, look_every, once, dry_run, json)
            if hooks is not None:
                hooks.wait(_HOOKS_S)
        finally:
            if hooks is not None:
                hooks.close()
    if not well:
        raise typer.Exit(1)


class _Quiet:
    """Passes on warnings alone: a look a minute needs no stages."""

    def __init__(self, observer: Rendered) -> None:
        self._observer = observer

    def __call__(self, event: Any) -> None:
        from training.progress import Advanced, Warned

        if isinstance(event, Warned | Advanced):
            self._observer(event)


def _looks(controller: Controller, every_s: float, once: bool, dry_run: bool, json: bool) -> bool:
    """Look until the end of days; what goes wrong with a look is printed, and the next one comes.

    Returns:
        after one look: whether all of it worked.
    """
    while True:
        began = time.monotonic()
        try:
            found = controller.look()
        except (FulcrumError, OSError) as error:
            if once:
                raise
            if json:
                print_json({"time_ms": time.time_ns() // 1_000_000, "problems": [str(error)]})
            _problem(str(error))
        else:
            if json:
                print_json(_document(found, dry_run))
            _printed(found, dry_run)
            if once:
                return not found.problems
        time.sleep(max(every_s - (time.monotonic() - began), 0.0))


def _document(found: Round, dry_run: bool) -> dict[str, Any]:
    return {
        "time_ms": found.time_ms,
        "dry_run": dry_run,
        "experiments": found.experiments,
        "looks": found.looks,
        "actions": {
            name: {"action": does.what, "why": does.why, **does.body} for name, does in found.actions.items()
        },
        "unseen": found.unseen,
        "problems": found.problems,
        "warnings": found.warnings,
    }


def _printed(found: Round, dry_run: bool) -> None:
    """For people, on stderr."""
    when = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(found.time_ms / 1000))
    if not found.looks and not found.unseen:
        states = ", ".join(f"{name} {state}" for name, state in found.experiments.items())
        _line(f"{when} no experiment runs" + (f" ({states})" if states else ""))
    for name, why in found.unseen.items():
        _line(f"{when} [bold]{escape(name)}[/] runs, and there is no look: {escape(why)}")
    for name, look in found.looks.items():
        units = " ".join(f"{arm} {count:,}" for arm, count in look["units"].items())
        _line(f"{when} [bold]{escape(name)}[/]: {escape(units)} units, {look['days']:.2f} days complete")
        for arm, verdict in look["verdicts"].items():
            _line(f"  {escape(arm)}: {escape(verdict['why'])}")
        _line(f"  next: {escape(look['next'])}")
    for name, does in found.actions.items():
        done = "would" if dry_run else "did"
        _line(f"  [bold yellow]{done} {does.what}[/] {escape(name)}: {escape(does.why)}")
    for problem in (*found.warnings, *found.problems):
        _problem(problem)


def _line(text: str) -> None:
    progress.print(text, highlight=False, soft_wrap=True)


def _problem(text: str) -> None:
    _line(f"[yellow]warning:[/] {escape(text)}")
