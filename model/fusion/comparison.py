"""Comparison: two orders of the same candidates, for many requests at once. Pure NumPy; knows no configs.

An order is given by what it goes by, the highest first: ties keep the order of the input, and a NaN, a
candidate without a score, comes after all others. Places count from 0.

Shapes: R requests of N candidates each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TOP, MOST, PERSISTENCE = 10, 50, 0.9
_AT_ONCE = 1 << 20
"""Candidates that are compared at once: some 300 MiB."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """How two orders differ, request by request.

    Attributes:
        before, after: places of the candidates in both orders [R, N].
        first_changed: whether another candidate comes first [R].
        top_changed: share of the first `top` that are not among them any more, 0 to 1 [R].
        tau_b: Kendall's, -1 to 1; NaN where an order ties all candidates [R].
        rbo: rank-biased overlap, 0 to 1 [R].
    """

    before: Ints
    after: Ints
    first_changed: NDArray[np.bool_]
    top_changed: Floats
    tau_b: Floats
    rbo: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """Candidates in the order of some values.

    Attributes:
        order: candidates, best first [R, N].
        places: of the candidates [R, N].
        levels: whole numbers that rise down the order, equal where the values are [R, N].
    """

    order: Ints
    places: Ints
    levels: Ints

    @classmethod
    def by(cls, values: Floats) -> Order:
        """The order of values [R, N]."""
        order = orders(values)
        found = places(order)
        return cls(order, found, _levels(values, order, found))


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """What another order changes at the top, request by request; as in `Comparison`."""

    first_changed: NDArray[np.bool_]  # [R]
    top_changed: Floats  # [R]
    tau_b: Floats  # [R]


@dataclass(frozen=True, slots=True)
class Move:
    """A candidate that changes its place: its number among the candidates, its places before and after."""

    candidate: int
    before: int
    after: int


def compare_orders(
    before: Floats, after: Floats, *, top: int = TOP, most: int = MOST, p: float = PERSISTENCE
) -> Comparison:
    """Compare two orders of each request's candidates.

    Args:
        before, after: what the orders go by [R, N], NaN for no score.
        top: candidates that count for `top_changed`.
        most: tau-b is over the candidates that are among the first of either order, up to this number.
        p: persistence of RBO: a reader who has read a place reads the next one with this probability.

    Raises:
        ValueError: shapes differ, there are no candidates, or `top` or `most` is less than 1.
    """
    if before.shape != after.shape or before.ndim != 2 or not before.shape[1]:
        raise ValueError(f"values have shapes {before.shape} and {after.shape}; expected [R, N] twice, N > 0")
    if top < 1 or most < 1:
        raise ValueError(f"top is {top} and most {most}; expected 1 or more")
    count = before.shape[1]
    parts = [
        _compared(Order.by(before[rows]), Order.by(after[rows]), top, most, p)
        for rows in _slices(len(before), count)
    ]
    if len(parts) == 1:
        return parts[0]
    return Comparison(
        *(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(Comparison))
    )


def changes(before: Order, after: Order, number: Ints, *, top: int = TOP, most: int = MOST) -> Changes:
    """What is different at the top of two orders of the same candidates.

    Args:
        before, after: the orders.
        number: candidates that there are in each row [R], at least 1; what lies beyond is padding without a
            score, and counts nowhere.
        top, most: as in `compare_orders`.
    """
    count = np.minimum(number, top)[:, None]  # [R, 1]
    mine = after.places[np.arange(len(number))[:, None], before.order[:, :top]]  # [R, top]
    kept = np.count_nonzero((np.arange(mine.shape[1]) < count) & (mine < count), axis=1)
    return Changes(
        before.order[:, 0] != after.order[:, 0],
        1.0 - kept / count[:, 0],
        _tau_of_the_first(before, after, number, most),
    )


def orders(values: Floats) -> Ints:
    """Candidates in their order, best first: of what it goes by [R, N] -> [R, N]."""
    return np.argsort(-values, axis=1, kind="stable")


def places(order: Ints) -> Ints:
    """The place of each candidate: of `orders` [R, N] -> [R, N]."""
    found = np.empty_like(order)
    np.put_along_axis(found, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), axis=1)
    return found


def biggest_moves(before: Ints, after: Ints, count: int = TOP) -> list[Move]:
    """Candidates whose place changes most, of one request's places [N]; of equal moves, the higher before."""
    moves = np.abs(after - before)
    chosen = np.lexsort((before, -moves))[:count]
    return [Move(int(at), int(before[at]), int(after[at])) for at in chosen if moves[at]]


def tau_b(before: Floats, after: Floats) -> Floats:
    """Kendall's tau-b (Kendall 1945, "The treatment of ties in ranking problems"): of values [R, N] -> [R].

        (concordant - discordant) / sqrt(pairs untied before * pairs untied after)

    Values without a score are tied with each other, below all others. NaN where an order ties all candidates.
    """
    one, other = Order.by(before).levels, Order.by(after).levels
    return _tau_b(one, other, np.ones(before.shape, np.bool_))


def rbo(before: Ints, after: Ints, p: float = PERSISTENCE) -> Floats:
    """Rank-biased overlap of places [R, N] -> [R], extrapolated (RBO_EXT).

    Webber, Moffat and Zobel 2010, "A similarity measure for indefinite rankings", equation 30:

        X_N / N * p^N  +  (1 - p) / p * sum over depths d of X_d / d * p^d

    X_d is the number of candidates among the first d of both orders.
    """
    rows, count = before.shape
    both = np.maximum(before, after) + np.arange(rows)[:, None] * count  # the depth at which both have it
    overlap = np.bincount(both.ravel(), minlength=rows * count).reshape(rows, count).cumsum(axis=1)
    depths = np.arange(1, count + 1)
    agreement = overlap / depths  # [R, N]
    weighted: Floats = agreement @ p**depths
    return np.asarray(agreement[:, -1] * p**count + (1.0 - p) / p * weighted, np.float64)


def _compared(before: Order, after: Order, top: int, most: int, p: float) -> Comparison:
    rows, count = before.order.shape
    found = changes(before, after, np.full(rows, count), top=top, most=most)
    one, other = before.places, after.places
    return Comparison(one, other, found.first_changed, found.top_changed, found.tau_b, rbo(one, other, p))


def _tau_of_the_first(before: Order, after: Order, number: Ints, most: int) -> Floats:
    """Tau-b over candidates that are among the first `most` of either order."""
    rows, mine, others = np.arange(len(number))[:, None], before.order[:, :most], after.order[:, :most]
    there = np.arange(mine.shape[1]) < number[:, None]
    new = there & (before.places[rows, others] >= most)  # not among the first before
    chosen = np.concatenate([mine, others], axis=1)
    return _tau_b(
        before.levels[rows, chosen], after.levels[rows, chosen], np.concatenate([there, new], axis=1)
    )


def _levels(values: Floats, order: Ints, place: Ints) -> Ints:
    """Whole numbers in the order of values [R, N], equal for equal ones; those of NaN are equal, too."""
    ordered = np.take_along_axis(values, order, axis=1)
    left, right = ordered[:, :-1], ordered[:, 1:]
    differ = (left != right) & ~(np.isnan(left) & np.isnan(right))
    if differ.all():
        return place
    new = np.zeros(values.shape, np.int64)
    new[:, 1:] = differ
    found = np.empty_like(order)
    np.put_along_axis(found, order, new.cumsum(axis=1), axis=1)
    return found


def _tau_b(one: Ints, other: Ints, counts: NDArray[np.bool_]) -> Floats:
    """Tau-b of levels [R, N] over the candidates that count [R, N], by Knight's sums (1966).

    Those that do not count are made equal, and last in both orders: they are in no discordant pair.
    """
    count, last = one.shape[1], int(max(one.max(initial=0), other.max(initial=0))) + 1
    one, other = (np.where(counts, each, last) for each in (one, other))
    by_both = np.lexsort((other, one), axis=1)
    first, second = (np.take_along_axis(each, by_both, axis=1) for each in (one, other))
    number = np.count_nonzero(counts, axis=1)
    left_out = _pairs(count - number)
    pairs = _pairs(number)
    tied, tied_other, tied_in_both = (
        _tied_pairs(each) - left_out for each in (first, np.sort(other, axis=1), first * (last + 1) + second)
    )
    concordance = pairs - tied - tied_other + tied_in_both - 2 * _inversions(second)
    with np.errstate(invalid="ignore"):
        return np.asarray(concordance / np.sqrt((pairs - tied) * (pairs - tied_other)), np.float64)


def _pairs(count: Ints) -> Ints:
    return count * (count - 1) // 2


def _tied_pairs(ordered: Ints) -> Ints:
    """Pairs of equal values in rows that are in order [R, N] -> [R]."""
    rows, count = ordered.shape
    run = np.zeros(ordered.shape, np.int64)
    run[:, 1:] = (ordered[:, 1:] != ordered[:, :-1]).cumsum(axis=1)
    sizes = np.bincount((run + np.arange(rows)[:, None] * count).ravel(), minlength=rows * count)
    return np.asarray(_pairs(sizes.reshape(rows, count)).sum(axis=1), np.int64)


def _inversions(values: Ints) -> Ints:
    """Pairs of which the first is greater, by row [R, N] -> [R]."""
    columns = np.ascontiguousarray(values.T.astype(np.int32))  # [N, R]
    found = np.zeros(len(values), np.int64)
    for place in range(len(columns) - 1):
        found += np.count_nonzero(columns[place] > columns[place + 1 :], axis=0)
    return found


def _slices(rows: int, each: int) -> Iterator[slice]:
    """Slices of all rows, each within what it may take."""
    step = max(1, _AT_ONCE // max(each, 1))
    for start in range(0, max(rows, 1), step):
        yield slice(start, min(start + step, rows))
