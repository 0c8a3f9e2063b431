"""Diff: one report of what a fusion config changes, from a joined log or from a log's own groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.bundle import Bundle
from model.errors import FulcrumError, listed
from model.fusion import FusionConfig, Scorer, version
from training.metrics.task_metrics import finite
from training.progress import Advanced, Observer, Stage, silent
from training.tuning.differences import Differences, Measures
from training.tuning.joined_log import JoinedLog
from training.tuning.judged_requests import JudgedRequests
from training.tuning.replay import Replay
from training.tuning.support import verdicts


@dataclass(frozen=True)
class Side:
    """A config that is compared.

    Attributes:
        name: as it was asked for: a file, or `current`.
        config: itself.
        scorers: networks of its learned formulas.
    """

    name: str
    config: FusionConfig
    scorers: Mapping[str, Scorer] | None = None

    def replay(self, tasks: Sequence[str]) -> Replay:
        """To replay requests with predictions of these tasks."""
        return Replay(self.config, tasks, self.name, self.scorers)

    def calibrates(self, task: str) -> bool:
        """Whether any of its scenes calibrates the task."""
        return any(task in (scene.calibration or {}) for scene in self.config.scenes.values())

    def report(self) -> dict[str, Any]:
        """What it is."""
        scenes = self.config.scenes.items()
        return {
            "name": self.name,
            "version": version(self.config),
            "formulas": {name: scene.formula for name, scene in scenes},
            "explores": [name for name, scene in scenes if scene.explore is not None],
        }


@dataclass(frozen=True)
class Wanted:
    """What a diff shows.

    Attributes:
        reward: what an item is worth, over task names and `video_len_s`; the sum of all tasks where None.
        top: items of an answer that are looked at.
        examples: requests that are shown whole.
    """

    reward: str | None = None
    top: int = 10
    examples: int = 3

    def measures(self, tasks: Sequence[str], before: Side, after: Side) -> Measures:
        """For predictions of these tasks."""
        by = {
            task: "after" if after.calibrates(task) else "before" if before.calibrates(task) else "neither"
            for task in tasks
        }
        return Measures(tasks, self.reward or " + ".join(tasks), by, self.top, self.examples)


def diff_of_log(
    log: JoinedLog, before: Side, after: Side, wanted: Wanted, observer: Observer = silent
) -> dict[str, Any]:
    """What changes in a joined log, as JSON; None for numbers that cannot be computed.

    Raises:
        FulcrumError: a config or the reward does not fit the log's tasks, no request has them all, or a
            reward is no finite number.
    """
    sides = (before, after)
    replays = [side.replay(log.tasks) for side in sides]
    versions = [version(side.config) for side in sides]
    differences = Differences(wanted.measures(log.tasks, before, after))
    observer(Stage(f"Replaying {log.candidates:,} candidates under two configs"))
    needed = replays[0].needs | replays[1].needs
    earliest, latest = [], []
    for batch in log.batches(needed, observer):
        replayed = [replay.of(batch) for replay in replays]
        differences.add(batch, replayed[0], replayed[1], log.items)
        for name, of in dict(zip(versions, replayed, strict=True)).items():
            differences.agree(batch, of, name)  # once where both are one config
        earliest.append(int(batch.time_ms.min()))
        latest.append(int(batch.time_ms.max()))
    requests = log.counts["requests"]
    if not requests:
        raise FulcrumError(
            f"--log {log.folder}: no request has predictions of all of {listed(sorted(needed))}; "
            f"{log.counts['lacking']:,} were ranked by bundles that lack one"
        )
    found = verdicts(
        after.config,
        log.configs(),
        differences.scenes,
        requests=requests,
        exposures=log.exposures,
        never_shown=differences.never_shown(log.shown(wanted.top)),
        top=wanted.top,
        said=differences.said,
    )
    source = {
        "kind": "log",
        "path": str(log.folder),
        "exposures": log.exposures,
        "requests": requests,
        "candidates": log.counts["candidates"],
        "lacking": log.counts["lacking"],
        "from_ms": min(earliest),
        "to_ms": max(latest),
        "configs": dict(log.versions),
    }
    observer(Advanced("resampling users", 0, None))
    support = [one.report() for one in found]
    return _report(sides, wanted, source, differences.report(log.items.names), support)


def diff_of_data(
    bundle: Bundle,
    folder: Path | None,
    scene: str,
    sides: tuple[Side, Side],
    wanted: Wanted,
    observer: Observer = silent,
) -> dict[str, Any]:
    """What changes in the groups of a log that nothing was served to, as JSON; None as in `diff_of_log`.

    Args:
        bundle: verified, whose predictions count.
        folder: the log's files; None where the data set needs none.
        scene: that is applied to all requests.
        sides: the configs.
        wanted: what is shown.
        observer: called with progress.

    Raises:
        FulcrumError: neither config has the scene, a config or the reward does not fit the bundle's tasks,
            the data does not fit its schema, or no group has two rows.
    """
    known = dict.fromkeys(name for side in sides for name in side.config.scenes)
    if scene not in known:
        raise FulcrumError(f"--scene {scene}: neither config has it; there is {listed(list(known))}")
    tasks = tuple(bundle.task_names)
    replays = [side.replay(tasks) for side in sides]
    differences = Differences(wanted.measures(tasks, *sides))
    judged = JudgedRequests(bundle, folder, scene, observer)
    done = 0
    for batch in judged.batches():
        replayed = [replay.of(batch) for replay in replays]
        differences.add(batch, replayed[0], replayed[1], judged.items)
        done += len(batch.item)
        observer(Advanced("replaying", done, len(judged.requests.item), "candidates"))
    source = {
        "kind": "data",
        "path": None if folder is None else str(folder),
        "bundle": bundle.version,
        "group": judged.group,
        "scene": scene,
        "requests": len(judged.requests),
        "candidates": len(judged.requests.item),
    }
    observer(Advanced("resampling users", 0, None))
    return _report(sides, wanted, source, differences.report(judged.items.names), [])


def _report(
    sides: Sequence[Side],
    wanted: Wanted,
    source: Mapping[str, Any],
    differences: Mapping[str, Any],
    support: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    report: dict[str, Any] = finite(
        {
            "before": sides[0].report(),
            "after": sides[1].report(),
            "source": source,
            "top": wanted.top,
            **differences,
            "support": support,
            "out_of_support": any(one["outside"] for one in support),
        }
    )
    return report
