"""What a response is worth: the kinds of planted reward, with their dials. One class a kind.

Knows neither how viewers respond nor what is shown. Every kind has its expectation in closed form: given
entry, what a viewer watches, shares and comments is independent. Shapes: N impressions.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from model.frozen import Frozen

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class AdditiveReward(Frozen):
    """The planted reward of one impression: the weighted sum of what the viewer did with it.

    A session's reward is the sum over its impressions. The defaults let watching, sharing and commenting
    matter about alike in what separates a good ranking from a bad one, so no task alone ranks well.
    """

    kind: Literal["additive"] = Field(default="additive", exclude=True)
    """Left out where a world is written down: one without a kind has always been additive."""
    watch_s: float = 0.02
    """Reward of a second watched, replays included."""
    completion: float = 0.5
    """Reward of a video watched to its end; a part of it for a part of the video."""
    share: float = 15.0
    """Reward of a share."""
    comment: float = 12.0
    """Reward of a comment."""

    def expected(
        self, entered: Floats, watch_s: Floats, completion: Floats, share: Floats, comment: Floats
    ) -> Floats:
        """Mean rewards [N].

        Args:
            entered: probability of an entry [N].
            watch_s: mean seconds watched [N].
            completion: mean watched share of the video, 0..1, given entry [N].
            share: probability of a share, given entry [N].
            comment: probability of a comment, given entry [N].
        """
        of_entries = self.completion * completion + self.share * share + self.comment * comment
        return np.asarray(self.watch_s * watch_s + entered * of_entries, np.float64)

    def realised(
        self, entered: Flags, watch_ms: Floats, completion: Floats, share: Flags, comment: Flags
    ) -> Floats:
        """Rewards of what happened [N]; without an entry, everything else is 0, too.

        Args:
            entered: whether the viewer entered [N].
            watch_ms: milliseconds watched [N].
            completion: watched share of the video, 0..1 [N].
            share: whether it was shared [N].
            comment: whether it was commented on [N].
        """
        del entered  # nothing is worth anything without it
        watched = self.watch_s * watch_ms / 1000.0 + self.completion * completion
        return np.asarray(watched + self.share * share + self.comment * comment, np.float64)


class ComplementaryReward(Frozen):
    """The planted reward of one impression: a product, in which each behaviour raises what the others bring.

        reward = scale * completion * (1 + share * shared) * (1 + comment * commented)

    if the viewer entered, else 0. The best order is that of a product of predictions in which 1 / `share` and
    1 / `comment` smooth shares and comments. With the defaults, the reward of a request that is ranked by its
    truth has a standard deviation of .8 to 1.9 times its mean, seed by seed.
    """

    kind: Literal["complementary"] = "complementary"
    scale: float = 1.0
    """Reward of a video watched to its end, and neither shared nor commented on."""
    share: float = Field(default=18.0, ge=0)
    """By how much a share raises the reward: 18 makes it 19 times as high."""
    comment: float = Field(default=18.0, ge=0)
    """By how much a comment raises the reward."""

    def expected(
        self, entered: Floats, watch_s: Floats, completion: Floats, share: Floats, comment: Floats
    ) -> Floats:
        """Mean rewards [N]; arguments as for an additive reward."""
        del watch_s  # watching counts once, by its completion
        watched = self.scale * entered * completion
        return np.asarray(watched * (1.0 + self.share * share) * (1.0 + self.comment * comment), np.float64)

    def realised(
        self, entered: Flags, watch_ms: Floats, completion: Floats, share: Flags, comment: Flags
    ) -> Floats:
        """Rewards of what happened [N]; arguments as for an additive reward."""
        entries, shares, comments = (flags.astype(np.float64) for flags in (entered, share, comment))
        return self.expected(entries, watch_ms, completion, shares, comments)


def _with_kind(value: Any) -> Any:
    return {"kind": "additive", **value} if isinstance(value, Mapping) else value


Reward = Annotated[
    Annotated[AdditiveReward | ComplementaryReward, Field(discriminator="kind")], BeforeValidator(_with_kind)
]
"""What a world's reward may be; additive where no kind is given."""
