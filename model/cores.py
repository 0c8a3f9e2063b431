"""How many cores this process may use: its CPU affinity and its cgroups' quotas. Knows nothing of threads."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
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
    groups = own_groups("cpu", cgroups, own_cgroup)
    return min((_read_quota(group, _V2 if second else _V1) for group, second in groups), default=math.inf)


def own_groups(
    controller: str, cgroups: Path = _CGROUPS, own_cgroup: Path = _OWN_CGROUP
) -> Iterator[tuple[Path, bool]]:
    """Folders of the control groups that bind this process, from its own up to the root.

    Args:
        controller: of cgroup v1: `cpu` or `memory`.
        cgroups: where they are mounted.
        own_cgroup: names our own.

    Yields:
        A folder, and whether it is of cgroup v2.
    """
    try:
        lines = own_cgroup.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, own = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = cgroups / controller if controllers else cgroups
        group = root / own.lstrip("/")
        # A container may see its own group as the root, under a path of the host's that is not there.
        for folder in (group, *group.parents):
            if root in (folder, *folder.parents):
                yield folder, not controllers


def _read_quota(group: Path, files: tuple[str, ...]) -> float:
    """Cores; infinite where the group sets no quota (`max`, or -1 in v1)."""
    try:
        quota, period = " ".join((group / file).read_text() for file in files).split()
        return math.inf if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
