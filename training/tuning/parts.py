"""Parts: the requests that a search may look at, and those that judge once what it found.

By user, since a user's requests are alike; in a log of several days that is long enough also by day, since
tomorrow is another day. Knows neither searches nor estimates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.errors import FulcrumError
from training.tuning.estimating import LEAST_REQUESTS, LEAST_USERS
from training.tuning.outcomes import Outcomes, users_in_folds
from training.tuning.requests import Flags

_PARTS = 3
"""One of them judges."""
LEAST_GROUPS = 100
"""Groups that judge where nothing was served, at least: one is often all that a user saw."""
LEAST_BY_DAY = 5_000
"""Requests that judge, at least, where days are held out, too."""


@dataclass(frozen=True, eq=False)
class Parts:
    """Outcomes in two.

    Attributes:
        search: where everything is found and chosen.
        verdict: where what was chosen is judged, once.
        how: they were parted, for people.
    """

    search: Outcomes
    verdict: Outcomes
    how: str


def parted(outcomes: Outcomes, seed: int = 0) -> Parts:
    """A third of the users judge, of a long log on its last days, and the others are searched before those.

    Args:
        outcomes: all.
        seed: of the users' parts.

    Raises:
        FulcrumError: too few requests or users would judge.
    """
    held = users_in_folds(outcomes.requests.user, _PARTS, seed) == 0
    how = "a third of the users judge, the others are searched"
    last = _last_days(outcomes)
    if (held & last).sum() >= LEAST_BY_DAY and (~held & ~last).any():
        how = f"{how}; the last {len(np.unique(outcomes.day[last]))} days judge, those before are searched"
    else:
        last = np.ones(len(outcomes), np.bool_)
    search, verdict = ~held & (~last | last.all()), held & last
    check_size(outcomes.kept(verdict), outcomes.source)
    return Parts(outcomes.kept(search), outcomes.kept(verdict), how)


def check_size(verdict: Outcomes, source: str) -> None:
    """Refuse to judge by too little.

    Raises:
        FulcrumError: too few requests or users.
    """
    users = len(np.unique(verdict.requests.user))
    least = LEAST_REQUESTS if verdict.configs else LEAST_GROUPS
    if len(verdict) < least or users < LEAST_USERS:
        raise FulcrumError(
            f"{source}: {len(verdict):,} requests of {users:,} users would judge what is found; expected "
            f"{least:,} of {LEAST_USERS} or more, and three times as many in all: log more"
        )


def _last_days(outcomes: Outcomes) -> Flags:
    """Requests of the last days that hold a third of all [R]; of one day all."""
    days, counts = np.unique(outcomes.day, return_counts=True)
    after = len(outcomes) - np.cumsum(counts)  # requests of later days
    early = days[after >= len(outcomes) / _PARTS]
    return np.asarray(~np.isin(outcomes.day, early), np.bool_)
