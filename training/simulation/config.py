"""Every dial of the synthetic world, with its meaning and unit. Knows nothing about how a dial is used."""

from pydantic import Field, model_validator

from model.frozen import Frozen
from training.simulation.reward import AdditiveReward, Reward
from training.simulation.topics import TOPICS


class ResponseConfig(Frozen):
    """How viewers respond. The watched share of a video is log-normal: shifts are in log watch ratio.

    Clicks, likes, shares and comments are logistic: their bases and effects are in log-odds.
    """

    watch_base: float = -1.4
    """Mean log watch ratio of an average viewer on an average video of 20 s."""
    watch_noise: float = Field(default=0.95, gt=0)
    """Standard deviation of the log watch ratio that no state explains."""
    taste: float = 0.45
    """Effect of one unit of the viewer's taste for the video's topics."""
    style: float = 0.5
    """Effect of one unit of match in style: in no observed feature, only in who watches what."""
    quality: float = 0.45
    """Effect of one standard deviation of the video's quality."""
    heat: float = -0.45
    """Effect on watching of one unit of controversy: heated videos are left early, and commented on."""
    length: float = -0.45
    """Effect of log length: long videos complete less, though they are watched for longer."""
    misfit: float = -0.12
    """Effect of the squared log distance from the viewer's preferred length."""
    evening: float = 0.15
    """Amplitude of the daily cycle of attention, highest at 21 h."""
    replay_cap: float = Field(default=3.0, gt=1)
    """Most times a video plays in one view."""
    bounce: float = Field(default=0.04, ge=0, lt=1)
    """Probability that a viewer who looks swipes on before a frame plays."""
    click_base: float = -0.6
    """Log-odds of a click for a viewer who looks."""
    like_base: float = -4.2
    """Log-odds of a like for a viewer who enters."""
    share_base: float = -5.15
    """Log-odds of a share for a viewer who enters."""
    comment_base: float = -5.1
    """Log-odds of a comment for a viewer who enters."""


class WorldConfig(Frozen):
    """One world and the log taken from it. Equal configs make equal worlds, tables and logs."""

    seed: int = Field(default=7, ge=0)
    """All randomness comes from it."""
    users: int = Field(default=4_000, ge=1)
    """Viewers."""
    items: int = Field(default=2_000, ge=20)
    """Videos."""
    rows: int = Field(default=200_000, ge=1)
    """Impressions in the log, rounded up to full requests."""
    days: int = Field(default=10, ge=1)
    """Days the log covers."""
    start_ms: int = 1_735_689_600_000
    """Start of day 0, milliseconds since 1970 UTC (default: 1 January 2025). Hours are UTC too."""
    topics: int = Field(default=len(TOPICS), ge=2, le=len(TOPICS))
    """Topics in use, the first of the catalogue."""
    styles: int = Field(default=2, ge=1)
    """Dimensions of style, the affinity that topics do not explain."""
    slots: int = Field(default=10, ge=1)
    """Videos shown in a request: positions 0 to slots - 1."""
    pool: int = Field(default=60, ge=2)
    """Candidates retrieved for a request before the logging policy picks the shown ones."""
    policy_skill: float = 0.8
    """How much the logging policy follows true interest; 0 shows candidates at random."""
    response: ResponseConfig = ResponseConfig()
    """How viewers respond."""
    reward: Reward = AdditiveReward()
    """What a response is worth. It changes no viewer and no log."""

    @model_validator(mode="after")
    def _a_request_can_be_filled(self) -> "WorldConfig":
        if self.slots * 2 > self.pool or self.slots * 2 > self.items:
            raise ValueError(
                f"world: pool is {self.pool} and items is {self.items}; with {self.slots} slots both must "
                f"be at least {self.slots * 2}"
            )
        return self
