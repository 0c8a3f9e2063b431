"""`fulcrum simulate`: the viewers of a synthetic world ask a running service, and send feedback."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from model.errors import FulcrumError
from model.terminal import BundlePath, Json, answer, extra, print_json
from training.commands.rendering import Rendered

_KNOWN = ("hour", "tab")
"""What is known of a visit."""
_CALLERS, _OPEN_LOOP_CALLERS = 8, 256


def simulate(
    bundle: BundlePath,
    url: Annotated[str, typer.Option("--url", help="Where the service listens.")] = "http://127.0.0.1:8000",
    requests: Annotated[int, typer.Option("--requests", min=1, help="Rankings to ask for.")] = 1_000,
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, help="Equal seeds give equal users, sessions, candidates and chances."),
    ] = 0,
    scene: Annotated[str | None, typer.Option("--scene", help="Scene of the fusion config.")] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate", help="Requests a second, sent when they are due; as many as are answered where absent."
        ),
    ] = None,
    callers: Annotated[
        int | None,
        typer.Option(
            "--callers", min=1, help=f"Requests at a time; {_CALLERS}, or {_OPEN_LOOP_CALLERS} with --rate."
        ),
    ] = None,
    late: Annotated[
        float, typer.Option("--late", min=0.0, max=1.0, help="Share of events that are sent at the end.")
    ] = 0.0,
    double: Annotated[
        float,
        typer.Option("--double", min=0.0, max=1.0, help="Share of events that are sent again at the end."),
    ] = 0.0,
    lost: Annotated[
        float, typer.Option("--lost", min=0.0, max=1.0, help="Share of events that are never sent.")
    ] = 0.0,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Send events in any order.")] = False,
    no_feedback: Annotated[bool, typer.Option("--no-feedback", help="Send no events.")] = False,
    json: Json = False,
) -> None:
    """Let the viewers of the bundle's world ask a service, watch what it shows, and send feedback.

    The world is that of the bundle's recipe (reader `synthetic`, or `served` over it), so it is known what
    each answer is worth: the true reward of a request is what its videos are expected to bring at their
    positions, the realised reward what viewers did. Two services that are asked with one seed meet the same
    requests, and viewers do the same with what both show.

    Example: fulcrum simulate build/demo/bundle --url http://127.0.0.1:8000 --requests 20000
    """
    if rate is not None and rate <= 0:
        raise FulcrumError(f"--rate {rate:g}: expected more than 0 requests a second")
    with extra("training"):
        from training.datasets.served import world_of
        from training.simulation import World
        from training.viewers import Audience, Mishaps, Traffic, call
        from training.viewers.feedback import known_kinds
    from model.bundle import load_bundle

    of = load_bundle(bundle)
    kinds = () if no_feedback else known_kinds(of.manifest.events)
    traffic = Traffic(
        url=url,
        requests=requests,
        callers=callers or (_CALLERS if rate is None else _OPEN_LOOP_CALLERS),
        rate=rate,
        scene=scene,
        context={
            spec.name: spec.source
            for spec in of.schema.side("context")
            if spec.expr is None and spec.source in _KNOWN
        },
        kinds=kinds,
        mishaps=Mishaps(late=late, double=double, lost=lost, shuffle=shuffle),
    )
    world = World.create(world_of(of.schema, f"bundle {bundle}"))
    with Rendered() as observer:
        outcome = call(Audience(world, seed), traffic, observer)
    if outcome.errors == outcome.requests:
        raise FulcrumError(f"{url}: none of {requests:,} requests was answered: {outcome.first_error}")
    report = {"seed": seed, **outcome.report()}
    if json:
        print_json(report)
        return
    for line in _lines(report):
        answer.print(line, highlight=False, markup=False, soft_wrap=True)


def _lines(report: dict[str, Any]) -> list[str]:
    requests, errors, feedback = report["requests"], report["errors"], report["feedback"]
    lines = [
        f"{requests:,} requests of {report['users']:,} users in {report['seconds']:.1f} s "
        f"({report['requests_per_second']:,.0f} a second), {errors:,} errors",
        f"latency p50 {report['latency_ms']['p50']:.1f} ms, p99 {report['latency_ms']['p99']:.1f} ms",
    ]
    for name in ("true", "realised"):
        low, high = report[f"{name}_reward_interval"]
        lines.append(f"{name} reward a request {report[f'{name}_reward']:.4f} [{low:.4f}, {high:.4f}]")
    lines.append(f"feedback: {feedback['accepted']:,} events accepted, {feedback['rejected']:,} rejected")
    if feedback["unsent"]:
        lines.append(f"{feedback['unsent']:,} events not sent: {feedback['first_failure']}")
    if errors:
        lines.append(f"first error: {report['first_error']}")
    if feedback["rejected"]:
        lines.append(f"first rejection: {feedback['first_rejection']}")
    return lines
