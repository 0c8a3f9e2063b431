"""How many cores this process may use: its CPU affinity and its cgroups' quotas. Knows nothing of threads."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_V2: tuple[str, ...] = ("cpu.max",)
_V1: tuple[str, ...] = ("cpu.cfs_quota_us", "cpu.cfs_period_us")


def available_cores(cgroups: Path = _CGROUPS, own_cgroup: Path = _OWN_CGROUP) -> int:
    """Whole cores, at least 1: a container's quota of 2.5 cores gives 2.

    Counting the machine's cores instead would start threads that the quota then stops in mid-inference.
    """
    allowed = float(len(os.sched_getaffinity(0)))
    return max(1, math.floor(min(allowed, _quota(cgroups, own_cgroup))))


def _quota(cgroups: Path, own_cgroup: Path) -> float:
    """Cores by the tightest quota on the way from our own groups up to the root, in cgroup v2 and v1."""
    try:
        lines = own_cgroup.read_text().splitlines()
    except OSError:
        return math.inf
    quotas = [math.inf]
    for line in lines:
        _, controllers, own = line.split(":", 2)
        if not controllers:
            root, files = cgroups, _V2
        elif "cpu" in controllers.split(","):
            root, files = cgroups / "cpu", _V1
        else:
            continue
        group = root / own.lstrip("/")
        # A container may see its own group as the root, under a path of the host's that is not there.
        quotas += [
            _read_quota(folder, files)
            for folder in (group, *group.parents)
            if root in (folder, *folder.parents)
        ]
    return min(quotas)


def _read_quota(group: Path, files: tuple[str, ...]) -> float:
    """Cores; infinite where the group sets no quota (`max`, or -1 in v1)."""
    try:
        quota, period = " ".join((group / file).read_text() for file in files).split()
        return math.inf if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
