"""How many cores this process may use: its CPU affinity and its cgroup's quota. Knows nothing of threads."""

from __future__ import annotations

import math
import os
from pathlib import Path

__all__ = ["available_cores"]

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def available_cores(cgroups: Path = _CGROUPS, own_cgroup: Path = _OWN_CGROUP) -> int:
    """Whole cores, at least 1: a container's quota of 2.5 cores gives 2.

    Counting the machine's cores instead would start threads that the quota then stops in mid-inference.
    """
    allowed = float(len(os.sched_getaffinity(0)))
    return max(1, math.floor(min(allowed, _quota(cgroups, own_cgroup))))


def _quota(cgroups: Path, own_cgroup: Path) -> float:
    """Cores by the tightest `cpu.max` (cgroup v2) on the way from our own group up to the root."""
    try:
        lines = own_cgroup.read_text().splitlines()
    except OSError:
        return math.inf
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    group = cgroups / own
    quotas = [_read_quota(group)]
    while group != cgroups and cgroups in group.parents:
        group = group.parent
        quotas.append(_read_quota(group))
    return min(quotas)


def _read_quota(group: Path) -> float:
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
