"""Sheets, goals and where we do not win, from a run's result. Measures nothing.

A result is what `__main__` stores as JSON; numbers of candidates are its keys as text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rich.table import Table

__all__ = ["BEGIN", "END", "Goal", "Sheet", "goals", "losses", "put_into", "sheets"]

BEGIN, END = "<!-- figures of benchmarks.serving -->", "<!-- end of the figures -->"
"""Between them, documentation has what a run writes."""

Result = dict[str, Any]

_FEW = 100
"""A 99th percentile of fewer calls says nothing."""


@dataclass(frozen=True)
class Sheet:
    """A table of text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def rich(self) -> Table:
        """For a terminal."""
        table = Table(*self.columns, title=self.title)
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """For the documentation."""
        lines = (self.columns, ("---",) * len(self.columns), *self.rows)
        return "\n".join([f"{self.title}:", "", *(f"| {' | '.join(cells)} |" for cells in lines)])


@dataclass(frozen=True)
class Goal:
    """A promise and what came of it."""

    what: str
    found: float
    wanted: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether it was kept."""
        return self.found >= self.wanted if self.at_least else self.found <= self.wanted

    def __str__(self) -> str:
        bound = "at least" if self.at_least else "at most"
        outcome = "met" if self.met else "MISSED"
        return f"{outcome}: {self.what}: {self.found:.2f} ({bound} {self.wanted:.2f})"


def sheets(result: Result) -> list[Sheet]:
    """All tables of a run, the main one first."""
    made = [_contenders(result), _calls(result), _arrivals(result), _network(result)]
    if result.get("stages"):
        made.append(_stages(result))
    return made


def goals(result: Result) -> list[Goal]:
    """What was promised, for each of our contenders."""
    found: list[Goal] = []
    for name, each in _ours(result).items():
        fp32 = bool(each["exact"])
        if "500" in each["calls"]:
            ratio = _over_bare(result, name, "500")
            bound = 0.8 if fp32 else 0.6
            found.append(Goal(f"{name}, 500: p50 of the HTTP call over the bare run", ratio, bound))
        best = max((_rps(peer, "500") for peer in _peers(result).values()), default=0.0)
        if best and _rps(each, "500"):
            bound = 1.5 if fp32 else 2.5
            what = f"{name}, 500: requests a second over the best peer's"
            found.append(Goal(what, _rps(each, "500") / best, bound, at_least=True))
        if slopes := [slope for _, slope in _slopes(each["calls"]) if slope > 0]:
            what = f"{name}: the dearest marginal candidate over the cheapest, 200 to 5,000"
            found.append(Goal(what, max(slopes) / min(slopes), 1.2))
        if loop := each.get("open"):
            what = f"{name}, {loop['candidates']}: p99 at 70 % load over the ideal queue's"
            found.append(Goal(what, loop["p99_over_ideal"], 1.3))
    for store, sizes in result.get("stages", {}).items():
        if store != "Redis" and "500" in sizes:
            share = _outside(sizes["500"])
            what = f"{store}, 500: the call outside the network over the bare run"
            found.append(Goal(what, share, 0.1 if store == "embedded" else 0.2))
    return found


def put_into(text: str, result: Result) -> str:
    """This documentation with a run's figures in the place of those that it has.

    Raises:
        ValueError: it has no place for them.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no place for figures: expected {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{_markdown(result)}\n\n{END}{after}"


def _markdown(result: Result) -> str:
    made = result["made"]
    how = (
        f"{made['machine']}, {made['when'][:10]}, load {made['load_average_before']:.1f} before, "
        f"{'a quick run' if made['quick'] else 'a full run'}, onnxruntime {made['onnxruntime']}."
    )
    found = "\n".join(f"- {goal}" for goal in goals(result))
    behind = "\n".join(f"- {loss}" for loss in losses(result))
    parts = [how, *(sheet.markdown() for sheet in sheets(result))]
    return "\n\n".join([*parts, f"Goals:\n\n{found}", f"Where we do not win:\n\n{behind}"])


def losses(result: Result) -> list[str]:
    """Where a peer is ahead of each of ours, figure by figure; says so where none is."""
    if not _peers(result):
        return ["no peer was measured"]
    found = [
        f"{what}: {peer} {theirs:,.1f} {unit}, {name} {own:,.1f}"
        for name, each in _ours(result).items()
        for what, unit, less_is_better, figure in _figures(result)
        if (own := figure(each)) is not None
        for peer, other in _peers(result).items()
        if (theirs := figure(other)) is not None and (theirs < own if less_is_better else theirs > own)
    ]
    return found or ["nowhere"]


_Figure = tuple[str, str, bool, Callable[[Result], float | None]]


def _figures(result: Result) -> Iterator[_Figure]:
    """What is compared: its name and unit, whether less of it is better, how to read it."""
    for size in result["bare"]["standard"]:
        for share in ("p50_ms", "p99_ms"):
            yield f"{share[:3]} of a call of {int(size):,}", "ms", True, _reader("calls", size, share)
    for size in result["saturation_sizes"]:
        yield f"requests a second of {int(size):,}", "/s", False, _reader("saturation", size, "rps")
    for share in ("p50_ms", "p99_ms", "p999_ms"):
        yield f"{share.removesuffix('_ms')} at 70 % load", "ms", True, _reader("open", share)
    yield "private memory", "MB", True, _reader("private_mb")
    yield "start-up", "s", True, _reader("startup_s")


def _reader(*path: str) -> Callable[[Result], float | None]:
    def read(each: Result) -> float | None:
        found: Any = each
        for key in path:
            found = found.get(key) if found else None
        if path[-1] == "p99_ms" and path[0] == "calls" and each["calls"].get(path[1], {}).get("n", 0) < _FEW:
            return None
        return None if found is None else float(found)

    return read


def _contenders(result: Result) -> Sheet:
    sizes, limits = list(result["bare"]["standard"]), list(result["saturation_sizes"])
    columns = (
        "",
        *(f"{int(size):,}" for size in sizes),
        *(f"{int(size):,}, req/s" for size in limits),
        "p99 / ideal",
        "private MB",
        "start-up, s",
    )
    rows = []
    for name, each in result["contenders"].items():
        loop = each.get("open")
        label = each["what"] if each["exact"] else f"{each['what']} (top-50 overlap {each['overlap']:.3f})"
        rows.append(
            (
                label,
                *(f"{_over_bare(result, name, size):.2f}" if size in each["calls"] else "" for size in sizes),
                *(f"{_rps(each, size):.1f}" if _rps(each, size) else "" for size in limits),
                f"{loop['p99_over_ideal']:.2f}" if loop else "",
                f"{each['private_mb']:.0f}",
                f"{each['startup_s']:.1f}",
            )
        )
    title = (
        "One worker, one inference thread, one core each. By candidates: p50 of a call over the bare run of "
        "the standard fp32 export; requests a second of three callers. p99 of arrivals by chance at 70 % of "
        f"that, {result['open_candidates']} candidates, over an ideal queue's"
    )
    return Sheet(title, columns, tuple(rows))


def _calls(result: Result) -> Sheet:
    sizes = list(result["bare"]["standard"])
    rows = []
    subjects = {f"bare: {name}": {"calls": calls} for name, calls in result["bare"].items()}
    subjects |= {each["what"]: each for each in result["contenders"].values()}
    for label, each in subjects.items():
        cells = []
        for size in sizes:
            call = each["calls"].get(size)
            last = f" / {call['p99_ms']:.2f}" if call and call["n"] >= _FEW else ""
            cells.append(f"{call['p50_ms']:.2f}{last}" if call else "")
        slopes = " ".join(f"{slope:.1f}" for _, slope in _slopes(each["calls"]))
        rows.append((label, *cells, slopes))
    columns = ("p50 / p99, ms", *(f"{int(size):,}" for size in sizes), "us a further candidate")
    starts = ", ".join(place for place, _ in _slopes(result["bare"]["standard"]))
    return Sheet(f"One caller. Further candidates: {starts}", columns, tuple(rows))


def _arrivals(result: Result) -> Sheet:
    rows = []
    for each in result["contenders"].values():
        if loop := each.get("open"):
            found, ideal = (
                " / ".join(f"{loop[f'{prefix}{share}_ms']:.1f}" for share in ("p50", "p99", "p999"))
                for prefix in ("", "ideal_")
            )
            turns = " ".join(f"{rate:.1f}" for rate in each["saturation"][str(loop["candidates"])]["turns"])
            rows.append(
                (
                    each["what"],
                    turns,
                    f"{loop['rate']:.1f}",
                    f"{loop['n']:,}",
                    f"{loop['failed']}",
                    found,
                    ideal,
                )
            )
    columns = (
        *("", "req/s at the limit, by turn", "arrivals a second", "answered", "failed"),
        *("p50 / p99 / p99.9, ms, from when due", "the same of the ideal queue"),
    )
    size = result["open_candidates"]
    title = f"Arrivals by chance at 70 % of the capacity, {size} candidates; medians over turns"
    return Sheet(title, columns, tuple(rows))


def _network(result: Result) -> Sheet:
    peak = max(result["gemm_gflops"].values())
    libraries = ", ".join(f"{name} {rate:.0f}" for name, rate in result["gemm_gflops"].items())
    rows = []
    for size, standard in result["bare"]["standard"].items():
        lowered = result["bare"]["lowered"][size]
        cells = [f"{int(size):,}"]
        for name, call in (("standard", standard), ("lowered", lowered)):
            flops = result["flops"][name][size]
            rate = flops / call["p50_ms"] / 1e6
            cells += [f"{call['p50_ms']:.2f}", f"{flops / 1e6:,.0f}", f"{rate:.0f} ({rate / peak:.0%})"]
        rows.append((*cells, f"{lowered['p50_ms'] / standard['p50_ms']:.2f}"))
    columns = (
        "candidates",
        *("standard, ms", "MFLOP", "GFLOP/s (of the peak)"),
        *("bundle's graph, ms", "MFLOP", "GFLOP/s (of the peak)"),
        "ratio",
    )
    title = f"The network alone, one thread, fp32; peak of float32 GEMM, GFLOP/s: {libraries}"
    return Sheet(title, columns, tuple(rows))


def _stages(result: Result) -> Sheet:
    names = dict.fromkeys(
        stage for sizes in result["stages"].values() for each in sizes.values() for stage in each["stages_ms"]
    )
    rows = []
    for store, sizes in result["stages"].items():
        for size, each in sizes.items():
            stages = each["stages_ms"]
            rows.append(
                (
                    store,
                    f"{int(size):,}",
                    *(f"{stages[stage]:.2f}" if stage in stages else "" for stage in names),
                    f"{each['call_ms'] - sum(stages.values()):.2f}",
                    f"{each['call_ms']:.2f}",
                    f"{stages['network'] / each['call_ms']:.0%}",
                    f"{(sum(stages.values()) - stages['network']) / each['bare_ms']:.0%}",
                    f"{_outside(each):.0%}",
                )
            )
    columns = (
        *("store", "candidates", *names, "HTTP and caller", "call", "network of call"),
        *("other stages of bare", "all outside of bare"),
    )
    return Sheet(
        "Fulcrum's stages, mean ms of one caller's calls; shares of the bare standard run",
        columns,
        tuple(rows),
    )


def _outside(each: Result) -> float:
    """All of the call but the network, over the bare run."""
    return float((each["call_ms"] - each["stages_ms"]["network"]) / each["bare_ms"])


def _over_bare(result: Result, name: str, size: str) -> float:
    bare = result["bare"]["standard"][size]["p50_ms"]
    return float(result["contenders"][name]["calls"][size]["p50_ms"] / bare)


def _rps(each: Result, size: str) -> float:
    return float(each.get("saturation", {}).get(size, {}).get("rps", 0.0))


def _slopes(calls: Result) -> list[tuple[str, float]]:
    """Between neighbouring sizes from 200 candidates on: which, and microseconds a further candidate."""
    sizes = [size for size in calls if int(size) >= 200]
    return [
        (
            f"{int(low):,} to {int(high):,}",
            (calls[high]["p50_ms"] - calls[low]["p50_ms"]) / (int(high) - int(low)) * 1e3,
        )
        for low, high in pairwise(sizes)
    ]


def _ours(result: Result) -> Result:
    return {name: each for name, each in result["contenders"].items() if each["ours"]}


def _peers(result: Result) -> Result:
    return {name: each for name, each in result["contenders"].items() if not each["ours"]}
