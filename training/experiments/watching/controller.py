"""The controller: looks at every experiment that runs, says what it saw, and does what follows.

It is level-triggered: each look reads everything anew, what was shown, what came of it and what the
service wants, and acts on that alone. It holds no lease: each change names the edition that was seen, so that
of two controllers, or of one that was killed and its successor, one acts. What it remembers between looks is
how many answers were counted (`answers.py`) and what was posted (`webhooks.py`). While it is away, the
service goes on as it is. Knows no HTTP and no terminal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.client.control import RefusedError, UnreachableError
from model.errors import FulcrumError
from model.events import EventFolder
from model.events.folder import hour_name
from model.events.kafka import KafkaUrl
from training.events.join import Summary, join_events
from training.events.landing import land
from training.events.sealing import seal
from training.experiments.watching.answers import Answers
from training.experiments.watching.deciding import Action, action, says
from training.experiments.watching.looking import Looked, looked, published
from training.experiments.watching.measures import Measures
from training.experiments.watching.reading import ExperimentLog, Seen
from training.experiments.watching.service import Experiments, Reported, Sender, StaleError
from training.experiments.watching.webhooks import Webhooks
from training.progress import Observer, Warned, silent

_TRIES = 3
"""Times that a look at an experiment is taken anew where it has changed meanwhile."""
Said = dict[str, Any]


@dataclass(frozen=True)
class Round:
    """One look at all that runs.

    Attributes:
        time_ms: when.
        looks: by experiment: as it is published.
        actions: by experiment: what was done, or would have been.
        problems: what did not work, a line each.
        warnings: of the events, a line each.
        experiments: states by id.
        unseen: by experiment that runs and has no look: why.
    """

    time_ms: int
    looks: dict[str, Said] = field(default_factory=dict)
    actions: dict[str, Action] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    experiments: dict[str, str] = field(default_factory=dict)
    unseen: dict[str, str] = field(default_factory=dict)


class Joined:
    """Events, joined anew at each look as far as they changed.

    Args:
        events: a folder of events, or Kafka's.
        out: folder of the joined log.
    """

    def __init__(self, events: Path | KafkaUrl, out: Path) -> None:
        self._events, self.out = events, out
        self._sealed = ""

    def update(self, now_ms: int, observer: Observer = silent) -> Summary:
        """Read, seal and join what is new.

        Raises:
            FulcrumError: there are no events, or they cannot be read or joined.
        """
        folder = self._events
        if isinstance(folder, KafkaUrl):
            folder = self.out / "events"
            land(self._events, EventFolder(folder), observer)  # type: ignore[arg-type]
        try:
            if self._sealed != (hour := hour_name(now_ms)):  # an hour is sealed when it is over
                self._sealed = "" if seal(folder, now_ms, observer).open else hour
        except (FulcrumError, OSError) as error:  # sealing saves space: what is not sealed is read as well
            observer(Warned(f"not sealed: {error}"))
        return join_events(folder, self.out, now_ms, observer)


class Controller:
    """Looks and acts.

    Args:
        sender: of calls to the service.
        joined: the events.
        measures: of metrics.
        work: folder of what is remembered between looks.
        now_ms: the clock.
        webhooks: for what happened; None for nobody.
        dry_run: whether nothing is changed, published or posted.
        observer: called with progress.
    """

    def __init__(
        self,
        sender: Sender,
        joined: Joined,
        measures: Measures,
        work: Path,
        *,
        now_ms: Callable[[], int],
        webhooks: Webhooks | None = None,
        dry_run: bool = False,
        observer: Observer = silent,
    ) -> None:
        self._service, self._joined = Experiments(sender), joined
        self._log = ExperimentLog(joined.out, measures)
        self._answers, self._webhooks = Answers(work / "answers.json"), webhooks
        self._now_ms, self._dry_run, self._observer = now_ms, dry_run, observer

    def look(self) -> Round:
        """Look once.

        Raises:
            UnreachableError: the service is away.
            RefusedError: it does not say what experiments there are.
        """
        reports = self._service.all()
        if self._webhooks is not None and not self._dry_run:
            self._webhooks.report([one.experiment for one in reports])
        now_ms = self._now_ms()
        done = Round(now_ms, experiments={one.experiment.id: one.experiment.state for one in reports})
        unread = None
        try:
            done.warnings.extend(self._joined.update(now_ms, self._observer).warnings)
        except (FulcrumError, OSError) as error:  # what is counted by answer is judged all the same
            unread = f"events cannot be read: {error}"
            done.problems.append(unread)
        running = [one for one in reports if _is_judged(one, now_ms)]
        done.unseen.update(_unjudged(reports, now_ms))
        self._log.keep([f"{one.experiment.layer}/{one.experiment.id}" for one in running])
        answers = self._counted(running, done)
        for one in running:
            try:
                self._look_at(one, answers, unread, done)
            except UnreachableError:
                raise
            except (FulcrumError, OSError) as error:
                _report(done, one, str(error))
                if one.experiment.id not in done.looks:
                    done.unseen.setdefault(one.experiment.id, "it could not be judged")
        if done.actions and self._webhooks is not None and not self._dry_run:
            self._webhooks.report([one.experiment for one in self._service.all()])
        return done

    def _counted(self, running: list[Reported], done: Round) -> dict[str, Any]:
        """Answers since comparisons began, by label; none where the service does not say."""
        since = {
            f"{one.experiment.layer}/{one.experiment.id}:{arm.name}": one.experiment.since_ms or 0
            for one in running
            for arm in one.experiment.arms
        }
        try:
            return dict(self._answers.take(self._service.answers(), since))
        except UnreachableError:
            raise
        except (FulcrumError, OSError) as error:
            done.problems.append(f"answers by arm: {error}")
            return {}

    def _look_at(self, one: Reported, answers: dict[str, Any], unread: str | None, done: Round) -> None:
        name = one.experiment.id
        for _ in range(_TRIES):
            active = self._service.active()
            found = self._looked(one, answers, unread, done)
            if name not in done.unseen:
                next_ = says(found) + (f"; not served: {one.waits}" if one.waits else "")
                done.looks[name] = published(found, next_)
                if not self._dry_run:
                    self._publish(name, done)
            does = action(found)
            if does is None:
                return
            if self._dry_run:
                done.actions[name] = does
                return
            try:
                self._service.act(one.experiment, does, active)
                done.actions[name] = does
                return
            except StaleError:
                again = self._service.one(name)
                if again is None or not _is_judged(again, done.time_ms):
                    return
                if (again.look_ms or 0) > done.time_ms:  # who looked meanwhile acts
                    return
                one = again
            except RefusedError as error:
                if does.what != "decide":
                    raise
                why = f"{does.why}; it could not be activated: {error.detail}"
                pause = Action("pause", why, {"outcome": does.body["outcome"]})
                self._service.act(one.experiment, pause, active)
                done.actions[name] = pause
                return
        done.problems.append(f"experiment {name}: it changed {_TRIES} times meanwhile; the next look acts")

    def _looked(self, one: Reported, answers: dict[str, Any], unread: str | None, done: Round) -> Looked:
        """What is seen and said. Where no event can be read, only what is counted by answer is judged."""
        experiment, terms = one.experiment, one.experiment.terms
        assert terms is not None  # noqa: S101 - the caller has seen to it
        of_arm = {
            arm.name: answers.get(f"{experiment.layer}/{experiment.id}:{arm.name}", {})
            for arm in experiment.arms
        }
        try:
            seen = None if unread else self._log.seen(experiment, one.unit, done.time_ms)
        except (FulcrumError, OSError) as error:
            unread, seen = str(error), None
            _report(done, one, unread)
        if seen is None:
            done.unseen[experiment.id] = "its events cannot be read; it is judged by answers alone"
            names = [terms.primary, *terms.metrics, *(guard.metric for guard in terms.guardrails)]
            seen = Seen.nothing(experiment, dict.fromkeys(names, unread or ""))
        else:
            for metric, why in seen.failed.items():
                _report(done, one, f"metric {metric!r} cannot be evaluated: {why}")
            for metric, why in seen.without_before.items():
                _report(done, one, f"metric {metric!r} is judged without the days before the start: {why}")
        if one.look_ms is not None and one.look_ms > done.time_ms:
            behind = f"{(one.look_ms - done.time_ms) / 1000:,.1f} s"
            done.unseen[experiment.id] = f"the clock is {behind} behind the newest look; was it set back?"
            _report(done, one, f"no look is published: {done.unseen[experiment.id]}")
        return looked(experiment, seen, of_arm, done.time_ms)

    def _publish(self, name: str, done: Round) -> None:
        try:
            self._service.publish(name, done.looks[name])
        except RefusedError as error:  # what is not shown is done all the same
            done.problems.append(f"experiment {name}: the look was not kept: {error}")


def _report(done: Round, one: Reported, problem: str) -> None:
    """Once, however often an experiment is looked at anew."""
    line = f"experiment {one.experiment.id}: {problem}"
    if line not in done.problems:
        done.problems.append(line)


def _unjudged(reports: list[Reported], now_ms: int) -> dict[str, str]:
    """By experiment that runs and is not looked at: why."""
    return {
        one.experiment.id: "it has no terms" if one.experiment.terms is None else "its start is to come"
        for one in reports
        if one.experiment.state == "running" and not _is_judged(one, now_ms)
    }


def _is_judged(one: Reported, now_ms: int) -> bool:
    """Whether it runs, has begun, and says how it is judged."""
    experiment = one.experiment
    begun = experiment.start_ms is None or experiment.start_ms <= now_ms
    return experiment.state == "running" and begun and experiment.terms is not None
