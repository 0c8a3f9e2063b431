"""Groups that nothing was served to, as outcomes: every row is a candidate, and its reward is known.

What was never shown is not among them, and who showed them is not known: what is found here orders what was
shown better, which is less than what a joined log of an exploring service says.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from model.bundle import Bundle
from model.errors import FulcrumError
from training.preparation.worth import reward_of, worth_of
from training.progress import Note, Observer, silent
from training.tuning.examination import Looks
from training.tuning.judged_requests import JudgedRequests
from training.tuning.outcomes import Outcomes

LOOKS = 0.9
"""Share of those who look at a place that look at the next one, too, where nothing else is declared."""


def offline_outcomes(
    bundle: Bundle,
    folder: Path | None,
    scene: str,
    reward: str | None = None,
    *,
    where: str | None = None,
    observer: Observer = silent,
) -> Outcomes:
    """The groups of a log with what came of their rows.

    Args:
        bundle: whose predictions and labels count; on its own training folder, of its validation split.
        folder: the log's files; None where the data set needs none.
        scene: that requests are taken to ask for.
        reward: over columns, task names and `video_len_s`; the recipe's where None.
        where: Polars SQL over the log: the rows that count; all where None.
        observer: called with progress.

    Raises:
        FulcrumError: the data does not fit the bundle's schema, no group has two rows, or a reward is no
            number or unknown.
    """
    judged = JudgedRequests(bundle, folder, scene, observer, where)
    log, rows, schema = judged.log, judged.rows, bundle.schema
    labels = {
        task: np.where(log.masks[rows, place], log.labels[rows, place], np.nan).astype(np.float64)
        for place, task in enumerate(judged.tasks)
    }
    text = reward_of(schema, reward)
    worth = worth_of(text, log.frame[rows], labels, log.video_len_s[rows])
    if unknown := int(np.isnan(worth).sum()):
        raise FulcrumError(
            f"reward {text!r}: unknown for {unknown:,} of {len(worth):,} rows, where a label is; write "
            "coalesce(NAME, 0) for those that are known in a part of the rows alone"
        )
    requests = replace(judged.requests, shown=judged.requests.item, shown_start=judged.requests.start)
    observer(Note("nothing says in which places rows were shown: all count as looked at"))
    return Outcomes(
        requests=requests,
        at=np.arange(len(rows)),
        position=np.zeros(len(rows), np.int64),
        reward=worth,
        labels=labels,
        seen=None,
        configs={},
        source=f"{len(requests):,} groups of {judged.group}" + ("" if folder is None else f" in {folder}"),
    )


def declared_looks(places: int, share: float | None = None) -> Looks:
    """Of places of an answer, the next one looked at by this share of those who look at one.

    Raises:
        FulcrumError: the share is not above 0 and at most 1.
    """
    declared = LOOKS if share is None else share
    if not 0.0 < declared <= 1.0:
        raise FulcrumError(f"--examination {declared:g}: expected a share above 0, and at most 1")
    return Looks(declared ** np.arange(places, dtype=np.float64), "declared")
