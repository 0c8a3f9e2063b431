"""Where the time of our calls goes: by stage, from /metrics, with rows on disk and with rows in Redis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack

import numpy as np

from benchmarks.rig import published_redis, stage_sums
from benchmarks.serving.contenders import Contender, Served, serve
from benchmarks.serving.material import Material
from benchmarks.serving.measuring import Bare, Cores, measure_calls

__all__ = ["STORES", "measure_stages"]

STORES: dict[str, Contender] = {
    "embedded": Contender("rows mapped from disk"),
    "Redis": Contender("rows in Redis, remembered for a minute"),
    "Redis, nothing remembered": Contender(
        "rows in Redis, asked for in each request", env={"FULCRUM_FEATURE_CACHE_ITEMS": "0"}
    ),
}


def measure_stages(
    material: Material,
    bare: Bare,
    cores: Cores,
    sizes: Mapping[int, tuple[int, int]],
    advance: Callable[[], None],
) -> dict[str, dict[str, dict[str, object]]]:
    """By store and number of candidates: mean milliseconds of the call, of each stage and of the bare run.

    Means, as sums are all that /metrics has; so no call is left out for being the first of a turn.
    """
    with ExitStack() as stack:
        # On the load's core, as if on another machine.
        redis = stack.enter_context(published_redis(material.bundle.path))
        services = []
        for name, contender in STORES.items():
            features = None if name == "embedded" else redis
            served = stack.enter_context(serve(name, contender, material, cores.service, features))
            served.tree.freeze()
            services.append(served)
        found: dict[str, dict[str, dict[str, object]]] = {served.name: {} for served in services}
        for size, plan in sizes.items():
            before = {served.name: _seconds_and_calls(served) for served in services}
            times = measure_calls(services, [bare], material, {size: plan}, advance, warm=0)
            for served in services:
                after = _seconds_and_calls(served)
                found[served.name][str(size)] = {
                    "bare_ms": float(np.mean(times[bare.name][size]) * 1e3),
                    "call_ms": float(np.mean(times[served.name][size]) * 1e3),
                    "stages_ms": _means(before[served.name], after),
                }
    return found


_Sums = dict[str, tuple[float, float]]


def _seconds_and_calls(served: Served) -> _Sums:
    """By stage so far."""
    with served.turn():
        return stage_sums(served.url)


def _means(before: _Sums, after: _Sums) -> dict[str, float]:
    """Milliseconds a call."""
    means = {}
    for stage, (seconds, calls) in after.items():
        seconds_before, calls_before = before.get(stage, (0.0, 0.0))
        if calls > calls_before:
            means[stage] = (seconds - seconds_before) / (calls - calls_before) * 1e3
    return means
