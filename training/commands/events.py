"""`fulcrum events`: the log of what was shown and what came of it."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from model.errors import FulcrumError
from model.terminal import Json, answer, extra, print_json, print_table, progress
from training.commands.skew import events_skew

app = typer.Typer(help="The log of what was shown and what came of it.", no_args_is_help=True)
app.command("skew")(events_skew)

Events = Annotated[
    Path, typer.Argument(metavar="EVENTS", help="The folder that `fulcrum serve --events` writes to.")
]
Outs = Annotated[
    list[Path] | None, typer.Option("--out", help="A joined log to delete from as well; may be repeated.")
]
_DAY_MS = 86_400_000


@app.command("join")
def events_join(
    events: Annotated[
        str,
        typer.Argument(
            metavar="EVENTS", help="What `fulcrum serve --events` writes to: a folder, or kafka://..."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the joined log.")],
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="TIME",
            help="See what was received until then: ISO 8601 (UTC where it names no zone), or "
            "milliseconds since 1970. Now, if not given.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Join exposures with feedback: one row per impression, in Parquet by day.

    Run it again to take up what is new; only hours that changed are written. Events of Kafka are read into
    the folder `events` of the joined log first.
    """
    with extra("training"):
        from training.commands.rendering import Rendered
        from training.events.join import join_events
        from training.events.landing import land
    from model.events import EventFolder
    from model.events.kafka import KafkaUrl, folder_or_kafka
    from model.files import check_folder

    place = folder_or_kafka(events)
    landed = None
    with Rendered() as observer:
        if isinstance(place, KafkaUrl):
            check_folder(out, "joined log")
            landed = land(place, EventFolder(out / "events"), observer)
            place = out / "events"
        as_of_ms = _now_ms() if as_of is None else moment_ms(as_of)
        summary = join_events(place, out, as_of_ms, observer)
    if json:
        landing = {} if landed is None else {"landed": asdict(landed)}
        print_json({**asdict(summary), "counts": dict(summary.counts), **landing})
        return
    if landed is not None:
        answer.print(
            f"read from Kafka: {landed.exposures:,} exposures, {landed.feedback:,} new events; "
            f"{landed.refused:,} messages are no events"
        )
    counts = summary.counts
    answer.print(
        f"{counts['impressions']:,} impressions of {counts['exposures']:,} exposures, "
        f"{counts['candidates']:,} candidates, as of {_shown(as_of_ms)}"
    )
    answer.print(
        f"{counts['events']:,} events: {counts['joined']:,} joined, {counts['outside_window']:,} "
        f"outside their window, {counts['orphans']:,} orphans, "
        f"{counts['of_unknown_kinds']:,} of unknown kinds"
    )
    if counts["exposures_twice"] or counts["misplaced"]:
        answer.print(f"left out: {counts['exposures_twice']:,} duplicates, {counts['misplaced']:,} misplaced")
    answer.print(
        f"hours: {summary.written:,} written, {summary.unchanged:,} unchanged, {summary.removed:,} removed"
    )
    _warn(summary.warnings)


@app.command("check")
def events_check(
    events: Events,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture", metavar="FILE", help="Draw lateness and rates: .svg or .png.", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Look through a folder of events: what is wrong, what there is, how late feedback comes.

    The exit status is 1 where a file is damaged.
    """
    with extra("training"):
        from training.commands.rendering import Rendered
        from training.events.check import QUANTILES, check_events
    if picture is not None and picture.suffix not in (".svg", ".png"):
        raise FulcrumError(f"--picture {picture}: expected a file that ends in .svg or .png")
    if picture is not None:
        from model.files import check_folder

        check_folder(picture.parent, "the picture's folder")
        picture.parent.mkdir(parents=True, exist_ok=True)
    with Rendered() as observer:
        checked = check_events(events, _now_ms(), observer)
    if picture is not None:
        with extra("report"):
            from training.events.picture import draw
        draw(checked, picture)
    counts, kinds = checked.counts, checked.kinds
    if json:
        late = {name: [of.late_s(q) for q in QUANTILES] for name, of in kinds.items()}
        print_json(
            {
                "counts": dict(counts),
                "kinds": {
                    name: {
                        **of.states,
                        "impressions": of.impressions,
                        "late_s": dict(zip(_NAMES, late[name], strict=True)),
                    }
                    for name, of in kinds.items()
                },
                "degraded": dict(checked.degraded),
                "hours": {name: {"exposures": n, "events": m} for name, (n, m) in checked.hours.items()},
                "damaged": checked.damaged,
                "warnings": checked.warnings,
            }
        )
    else:
        exposures = counts["exposures"]
        answer.print(
            f"{exposures:,} exposures with {counts['impressions']:,} impressions in {len(checked.hours):,} "
            f"hours; {counts['exposures_twice']:,} duplicates"
        )
        answer.print(
            f"files: {counts['segments']:,} segments ({counts['open']:,} written to), {counts['sealed']:,} "
            f"sealed, {counts['torn_bytes']:,} torn bytes"
        )
        answer.print(f"exposures without feedback: {_share(exposures - counts['with_feedback'], exposures)}")
        reasons = ", ".join(f"{name} {_share(n, exposures)}" for name, n in checked.degraded.most_common())
        answer.print(
            f"degraded: {_share(counts['degraded'], exposures)}" + (f" ({reasons})" if reasons else "")
        )
        answer.print(
            f"{counts['events']:,} events, of which {counts['orphans']:,} belong to nothing that was shown"
        )
        rows = [
            (
                name,
                f"{of.states.total():,}",
                _share(of.impressions, counts["impressions"]),
                f"{of.states['outside_window']:,}",
                f"{of.states['orphans']:,}",
                *(_seconds(of.late_s(quantile)) for quantile in QUANTILES),
            )
            for name, of in kinds.items()
        ]
        print_table(
            answer, ("kind", "events", "rate", "outside", "orphans", "late p50", "p90", "p99", "max"), rows, 1
        )
        for line in checked.damaged:
            answer.print(f"[red]damaged:[/] {escape(line)}", highlight=False, soft_wrap=True)
        _warn(checked.warnings)
    if checked.damaged:
        raise typer.Exit(1)


@app.command("tail")
def events_tail(
    events: Events,
    count: Annotated[int, typer.Option("-n", min=1, help="Exposures.")] = 10,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new ones, at most -n a second.")
    ] = False,
) -> None:
    """Show the last exposures, and what came of them so far."""
    with extra("training"):
        from training.events.tail import last_exposures
    after = ""
    while True:
        for one in last_exposures(events, count, after):
            after = one.exposure_id
            came = ", ".join(
                f"{kind} {item}" + ("" if value == 1 else f" {value:g}") for item, kind, value in one.events
            )
            answer.print(
                f"{_shown(one.time_ms)} {one.user_id} {one.scene} {len(one.items)} items"
                + (f" [{', '.join(one.degraded)}]" if one.degraded else "")
                + (f": {came}" if came else f": {' '.join(one.items[:5])}, nothing came of it yet"),
                markup=False,
                highlight=False,
                no_wrap=True,
                overflow="ellipsis",
            )
        if not follow:
            return
        time.sleep(1.0)


@app.command("seal")
def events_seal(events: Events, json: Json = False) -> None:
    """Put the segments of past hours into one Parquet file per hour. May run at any time, and again."""
    with extra("training"):
        from training.commands.rendering import Rendered
        from training.events.sealing import seal
    with Rendered() as observer:
        sealed = seal(events, _now_ms(), observer)
    if json:
        print_json(asdict(sealed))
        return
    answer.print(
        f"sealed {sealed.hours:,} hours: {sealed.files:,} files in one per hour, {sealed.torn:,} torn bytes"
    )
    if sealed.open:
        answer.print(f"{sealed.open:,} hours are still written to; run it again")


@app.command("forget")
def events_forget(
    events: Events,
    user: Annotated[str, typer.Argument(metavar="USER", help="The id, as rankings named it.")],
    out: Outs = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            help="A key that ids of users are hashed with, if not FULCRUM_EVENTS_USER_KEY; may be repeated.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Delete what was shown to a user and what came of it."""
    with extra("training"):
        from training.commands.rendering import Rendered
        from training.events.deletion import forget
    keys = key or [one for one in (os.environ.get("FULCRUM_EVENTS_USER_KEY"),) if one]
    with Rendered() as observer:
        deleted = forget(events, user, keys, out or (), observer)
    _deleted(deleted, json)


@app.command("expire")
def events_expire(
    events: Events,
    before: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Delete hours before it; as --as-of of `join`.", show_default=False
        ),
    ] = None,
    keep_days: Annotated[
        int | None, typer.Option(min=0, help="Delete hours older than this.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Delete old hours and their feedback. A joined log follows when it is joined again."""
    with extra("training"):
        from training.events.deletion import expire
    if (before is None) == (keep_days is None):
        raise FulcrumError("expected one of --before TIME and --keep-days N")
    before_ms = moment_ms(before) if before is not None else _now_ms() - (keep_days or 0) * _DAY_MS
    _deleted(expire(events, before_ms), json)


def moment_ms(text: str) -> int:
    """Milliseconds since 1970 of a time: these themselves, or ISO 8601, UTC where it names no zone."""
    if text.isdecimal() and len(text) > 8:
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise FulcrumError(
            f"{text!r} is no time; expected such as 2026-01-31T12:00:00Z, or milliseconds since 1970"
        ) from error
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


_NAMES = ("p50", "p90", "p99", "max")


def _deleted(deleted: Any, json: bool) -> None:
    if json:
        print_json({**asdict(deleted), "open": [str(path) for path in deleted.open]})
    else:
        exposures = f"{deleted.exposures:,} exposures, " if deleted.exposures else ""
        answer.print(f"deleted {exposures}{deleted.events:,} events, in {deleted.hours:,} hours")
    if deleted.open:
        raise FulcrumError(
            f"{len(deleted.open):,} segments are still written to, such as {deleted.open[0]}; run it again "
            "once their hour has passed"
        )


def _warn(warnings: list[str]) -> None:
    for line in warnings:
        progress.print(f"[yellow]warning:[/] {escape(line)}", highlight=False, soft_wrap=True)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _shown(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "none"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2g} s"
