"""Parts: the requests that a search may look at, and those that judge once what it found.

By user, since a user's requests are alike. Not by day: a third of the users on a third of the days is a
ninth of a log, too little to believe anything by. Whether the gain changes with the days is said where it is
judged (`Estimate.diagnostics`, `drift`). Knows neither searches nor estimates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.errors import FulcrumError
from training.tuning.estimating import LEAST_REQUESTS, LEAST_USERS
from training.tuning.outcomes import Outcomes, users_in_folds

_PARTS = 3
"""One of them judges."""
LEAST_GROUPS = 100
"""Groups that judge where nothing was served, at least: one is often all that a user saw."""


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
    """A third of the users judge, the others are searched.

    Args:
        outcomes: all.
        seed: of the users' parts.

    Raises:
        FulcrumError: too few requests or users would judge.
    """
    held = users_in_folds(outcomes.requests.user, _PARTS, seed) == 0
    check_size(outcomes.kept(held), outcomes.source)
    how = "a third of the users judge, the others are searched"
    return Parts(outcomes.kept(~held), outcomes.kept(held), how)


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
