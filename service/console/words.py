"""Numbers, times and names as people read them. Knows no pages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"
_DIRECTIONS = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))


def number(value: float | None, digits: int = 3) -> str:
    """In so many significant digits: 0.0123, 12.3, 12300."""
    if value is None or math.isnan(value):
        return NOTHING
    if value and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits - 1}e}".replace("-", MINUS)
    whole = f"{value:.{digits}g}"
    if "e" in whole:
        whole = f"{float(whole):.0f}"
    return whole.replace("-", MINUS)


def fixed(value: float | None, decimals: int = 3) -> str:
    """With so many decimals, for a column."""
    if value is None or math.isnan(value):
        return NOTHING
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", MINUS)


def decimals(scale: float) -> int:
    """How many decimals show numbers of this size in three digits: 3 at least, 8 at most."""
    size = abs(scale)
    return 3 if size == 0.0 or not math.isfinite(size) else min(max(2 - math.floor(math.log10(size)), 3), 8)


def signed(value: float | None, decimals: int = 3) -> str:
    """As `fixed`, with its sign; nothing has none."""
    shown = fixed(value, decimals)
    return shown if value is None or value <= 0.0 or not float(f"{value:.{decimals}f}") else f"+{shown}"


def percent(share: float | None, decimals: int = 1) -> str:
    """Of a fraction: 12.3 %."""
    return NOTHING if share is None or math.isnan(share) else f"{fixed(100.0 * share, decimals)} %"


def signed_percent(share: float | None, decimals: int = 1) -> str:
    """Of a fraction, with its sign."""
    return NOTHING if share is None or math.isnan(share) else f"{signed(100.0 * share, decimals)} %"


def relative(before: float | None, after: float | None) -> float | None:
    """The change as a fraction of what was; None where there was nothing."""
    return None if not before or after is None else after / before - 1.0


def version(name: str | None) -> str:
    """A version, short: the first ten digits of its hash."""
    return NOTHING if not name else name.removeprefix("sha256:")[:10]


def isolated(text: str) -> str:
    """What others wrote, between other words: its letters change the direction of no others."""
    inner = "".join(letter for letter in text if letter not in _DIRECTIONS)
    return f"\N{FIRST STRONG ISOLATE}{inner}\N{POP DIRECTIONAL ISOLATE}"


def moment(time_ms: float | None) -> str:
    """Unix time in milliseconds to the second, in UTC: people, browsers and services are elsewhere."""
    if time_ms is None:
        return NOTHING
    return datetime.fromtimestamp(time_ms / 1000.0, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def span(seconds: float) -> str:
    """How long: 0.35 ms, 12 ms, 3.2 s, 5 min, 3 h, 2 d."""
    for least, unit, size in ((86400, "d", 86400), (3600, "h", 3600), (120, "min", 60), (1, "s", 1)):
        if seconds >= least:
            return f"{number(seconds / size, 2)} {unit}"
    return f"{number(seconds * 1000.0, 2)} ms"


def count(value: float, one: str, more: str | None = None) -> str:
    """1 request, 2 requests, 12,000 requests."""
    return f"{value:,.0f} {one if value == 1 else more or one + 's'}"


def flat(metrics: Mapping[str, Any], before: str = "") -> dict[str, float]:
    """Numbers of nested mappings by their path: `vtr.auc`."""
    found: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[f"{before}{name}"] = float(value)
    return found
