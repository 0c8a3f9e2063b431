"""What `fulcrum estimate` prints, in 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console

from model.terminal import print_table
from training.commands.fusion_diff_text import cut, interval, signed
from training.tuning.estimating import Estimate, Figure, Method

METHODS: dict[Method, str] = {
    "doubly_robust": "doubly robust",
    "self_normalised": "weights on exposure alone",
    "direct": "reward model alone",
    "weight_space": "density of drawn weights",
}
_MOST = 80


def printed(
    found: Estimate,
    names: tuple[str, str],
    looks: str,
    experiment: tuple[float, int | None],
    console: Console,
) -> None:
    """Print an estimate.

    Args:
        found: the estimate.
        names: of the config and of what it is compared with.
        looks: how examination is known.
        experiment: a difference, and the requests in each arm that find it.
        console: where to.
    """
    width, console.width = console.width, min(console.width, _MOST)
    try:
        for line in head(found, *names):
            console.print(line, highlight=False, markup=False)
        rows = [(words, *_cells(found.methods[name])) for name, words in METHODS.items()]
        print_table(console, ("how", "difference", "95 %"), rows, 1)
        for line in notes(found, looks, *experiment):
            console.print(line, highlight=False, markup=False)
    finally:
        console.width = width


def head(found: Estimate, config: str, against: str) -> Iterator[str]:
    """The answer, or why there is none."""
    of = found.diagnostics
    yield f"{cut(config, 36)}  against  {cut(against, 30)}"
    yield f"{of['requests']:,} requests of {of['users']:,} users, {of['explored']:,} of them explored"
    if found.refused:
        yield f"The log cannot say: {found.reason}."
        yield "What follows rests on the reward model where the log shows nothing: a forecast."
    else:
        yield f"Reward of a request: {signed(found.difference)}  [{_ends(found.interval)}]"


def notes(found: Estimate, looks: str, difference: float, requests: int | None) -> Iterator[str]:
    """How far the log speaks, and what an experiment would take."""
    of = found.diagnostics
    for side, words in (("after", "it"), ("against", "what it is compared with")):
        support = of[side]
        yield (
            f"- {words}: {1.0 - support['never_logged']:.1%} of its exposure is logged, "
            f"{support['by_model']:.1%} rests on the reward model, "
            f"mean weight {support['mean_weight']:.3f}, {support['effective']:,.0f} requests speak for it"
        )
    far = "infinitely many" if of["shift"] is None else f"{of['shift']:.1f}"
    yield (
        f"- weights are {far} standard deviations of exploring away; by their density, "
        f"{of['speaking']:,.0f} requests speak for it (1,000 are needed)"
    )
    yield f"- how often places are looked at is {looks}"
    if requests is not None:
        yield (
            f"- an experiment finds {signed(difference)} with {requests:,} requests in each arm "
            "(80 of 100 such experiments, at 5 %)"
        )


def _cells(figure: Figure) -> tuple[str, str]:
    return signed(figure.difference), _ends(figure.interval)


def _ends(ends: tuple[float, float] | None) -> str:
    return interval(ends or (None, None), signed)
