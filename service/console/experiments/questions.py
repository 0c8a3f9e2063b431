"""Start, ramp, pause, stop, decide: each asks first, with what it changes, of the edition that was seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from markupsafe import Markup

from model.client import control, experiments
from model.errors import FulcrumError
from model.fusion import patched
from model.fusion.config import canonical_json
from service.console.changes.activate import and_paused, said_to_pause
from service.console.changes.confirm import Do, confirm
from service.console.elements import Kind
from service.console.experiments.words import (
    Report,
    buckets,
    by_arm,
    is_live,
    live,
    part,
    units,
    units_a_day,
    what_it_has,
)
from service.console.session import Session, parsed
from service.console.words import count


class Questions:
    """The presses of a tab's experiments.

    Args:
        session: of the tab.
        newest: the report of an experiment as it was last seen; None where there is none.
    """

    def __init__(self, session: Session, newest: Callable[[str], Report | None]) -> None:
        self._session, self._newest = session, newest

    async def start(self, one: Report, unit: str) -> None:
        """Begin a comparison."""
        name, edition = one["id"], one["edition"]

        async def do(why: str, _: int | None) -> str:
            await self._session.send(experiments.start(name, if_edition=edition, why=why))
            return f"Experiment {name} runs"

        lines = [
            f"{live(one, unit)}, take part.",
            f"Of all {units(unit)}: {', '.join(by_arm(one, one['ramp']))}.",
            *(f"{arm['name']} gets {what_it_has(arm)}." for arm in one["arms"]),
        ]
        if one["since_ms"] is not None:
            lines.append(f"A new comparison begins: {_seen(one, unit)} count no more.")
        if await self._newest_serves():
            lines.append("A bundle that is published from now on waits until it is activated.")
        await self._ask(one, f"Start {name}", "Start", do, lines, kind="main")

    async def ramp(self, one: Report, unit: str, to: int) -> None:
        """Have more of its buckets live."""
        name, edition = one["id"], one["edition"]

        async def do(why: str, _: int | None) -> str:
            await self._session.send(experiments.ramp(name, if_edition=edition, to=to, why=why))
            return f"Of experiment {name}, {to:,} buckets are live"

        lines = [
            f"From {live(one, unit)}, to {live(one, unit, to)}.",
            f"Of all {units(unit)} have then: {', '.join(by_arm(one, to))}.",
            "Who takes part keeps their arm. A ramp is never made smaller; a pause takes all away.",
        ]
        now, then = units_a_day(one, one["ramp"]), units_a_day(one, to)
        if now is not None and then is not None:
            lines.append(f"So far about {now:,.0f} new {units(unit)} a day; then about {then:,.0f}.")
        await self._ask(one, f"Ramp {name} to {to:,} buckets", "Ramp", do, lines, kind="main")

    async def pause(self, one: Report, unit: str) -> None:
        """Give everybody what is active, until the next start."""
        name, edition = one["id"], one["edition"]

        async def do(why: str, _: int | None) -> str:
            await self._session.send(experiments.pause(name, if_edition=edition, why=why))
            return f"Experiment {name} is paused"

        lines = [
            self._back(one, unit),
            f"They keep their arms for the next start, for which {_seen(one, unit)} count no more.",
        ]
        await self._ask(one, f"Pause {name}", "Pause", do, lines)

    async def stop(self, one: Report, unit: str) -> None:
        """End it for good."""
        name, edition = one["id"], one["edition"]

        async def do(why: str, _: int | None) -> str:
            await self._session.send(experiments.stop(name, if_edition=edition, why=why))
            return f"Experiment {name} is stopped"

        lines = [self._back(one, unit), _ended(one)]
        await self._ask(one, f"Stop {name}", "Stop it", do, lines)

    async def decide(self, one: Report, unit: str, chosen: str) -> None:
        """Stop it, and give everybody what an arm has."""
        name, edition, session = one["id"], one["edition"], self._session
        await session.watch.look()
        active = session.watch.active
        if active is None or active[0] is None:
            return
        number = active[0]
        arm = next(each for each in one["arms"] if each["name"] == chosen)

        async def do(why: str, _: int | None) -> str:
            answer = await session.send(
                experiments.decide(name, if_edition=edition, if_active=number, arm=chosen, why=why)
            )
            return f"Experiment {name} is decided: {chosen}{and_paused(answer)}"

        title, press = f"Decide {name}: {chosen} for everybody", f"{chosen} for everybody"
        if arm == one["arms"][0]:
            lines = ["The control has what is active, so nothing but the end changes.", self._back(one, unit)]
            await self._ask(one, title, press, do, [*lines, _ended(one)], active=number)
            return
        has = what_it_has(arm)
        if arm["patch"] is not None:
            has = has.replace("a patch of the active config", "a new revision that its patch makes")
        now = part(arm["share"] / 10_000 * one["ramp"]) if is_live(one) else "none"
        lines = [f"All {units(unit)} get {has}, which {now} of them have now.", _ended(one)]
        also = _paragraphs(lines) + await said_to_pause(session, but=name)
        revision = await self._config_of(arm)
        await self._ask(one, title, press, do, also, active=number, revision=revision)

    async def _config_of(self, arm: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What the arm makes active, as a revision that has no number where it is yet to be made."""
        fusion = self._session.watch.fusion
        try:
            if arm["revision"] is not None:
                found: dict[str, Any] = await self._session.send(control.revision(arm["revision"]))
                return found
            if arm["patch"] is not None and fusion is not None:
                config = patched(parsed(fusion["config"]), arm["patch"])
                return {"revision": None, "config": orjson.loads(canonical_json(config)), "unfit": None}
        except FulcrumError as error:
            return {"revision": None, "config": fusion["config"] if fusion else {}, "unfit": str(error)}
        return None

    async def _ask(
        self,
        one: Report,
        title: str,
        press: str,
        do: Do,
        says: Sequence[str] | Markup,
        *,
        kind: Kind = "grave",
        active: int | None = None,
        revision: Mapping[str, Any] | None = None,
    ) -> None:
        name, edition = one["id"], one["edition"]

        def stale() -> str | None:
            now, in_force = self._newest(name), self._session.watch.active
            if now is None or now["edition"] != edition:
                became = "gone" if now is None else f"{now['state']}, edition {now['edition']}"
                return f"{name} was changed meanwhile: it is {became}. Close this and look at it first."
            if active is not None and in_force is not None and in_force[0] != active:
                return f"Revision {in_force[0]} became active meanwhile. Close this and look at it first."
            return None

        await confirm(
            self._session,
            title,
            press,
            do,
            revision=revision,
            also=says if isinstance(says, Markup) else _paragraphs(says),
            drops=self._session.watch.schedule if active is not None and revision is not None else None,
            kind=kind,
            stale=stale,
        )

    def _back(self, one: Report, unit: str) -> str:
        active = self._session.watch.active
        name = f"revision {active[0]}" if active is not None else "what is active"
        if not is_live(one):
            return "Nobody takes part now but testers."
        return f"{part(one['ramp'])} of all {units(unit)} get {name} again, as all others do."

    async def _newest_serves(self) -> bool:
        try:
            listed = await self._session.send(control.revisions(limit=1))
        except FulcrumError:
            return False
        return bool(listed["bundle"] is None)


def _seen(one: Report, unit: str) -> str:
    seen = sum((one["look"] or {}).get("units", {}).values())
    return f"{count(seen, f'{unit} that was seen', f'{units(unit)} that were seen')} so far"


def _ended(one: Report) -> str:
    return f"The experiment ends for good, and its buckets {buckets(one['first'], one['size'])} are free."


def _paragraphs(lines: Sequence[str]) -> Markup:
    return Markup("").join(Markup('<p class="note">{}</p>').format(line) for line in lines)
