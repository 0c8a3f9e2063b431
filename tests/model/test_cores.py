"""Cores: affinity and quota, whichever is tighter."""

from __future__ import annotations

import os

import pytest

from model.cores import available_cores


@pytest.mark.parametrize(
    ("root", "group", "expected"),
    [
        ("250000 100000", "max 100000", 2),
        ("max 100000", "150000 100000", 1),
        ("50000 100000", "max 100000", 1),
        ("max 100000", "max 100000", 64),
        ("nonsense", "", 64),
    ],
)
def test_the_tightest_quota_counts(tmp_path, monkeypatch, root, group, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    (tmp_path / "kube/pod").mkdir(parents=True)
    (tmp_path / "cpu.max").write_text(root)
    (tmp_path / "kube/pod/cpu.max").write_text(group)
    own = tmp_path / "own"
    own.write_text("1:name=systemd:/x\n0::/kube/pod\n")
    assert available_cores(tmp_path, own) == expected


def test_without_cgroups_affinity_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 4})
    assert available_cores(tmp_path, tmp_path / "absent") == 3


@pytest.mark.parametrize(
    ("root", "group", "expected"),
    [
        (("250000", "100000"), ("-1", "100000"), 2),
        (("-1", "100000"), ("150000", "100000"), 1),
        (("-1", "100000"), ("-1", "100000"), 64),
        (("nonsense", "100000"), ("400000", "0"), 64),
    ],
)
def test_the_tightest_quota_of_cgroup_v1_counts(tmp_path, monkeypatch, root, group, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    (tmp_path / "cpu/docker/abc").mkdir(parents=True)
    for folder, (quota, period) in ((tmp_path / "cpu", root), (tmp_path / "cpu/docker/abc", group)):
        (folder / "cpu.cfs_quota_us").write_text(quota + "\n")
        (folder / "cpu.cfs_period_us").write_text(period + "\n")
    own = tmp_path / "own"
    own.write_text("5:cpuset:/x\n4:cpu,cpuacct:/docker/abc\n0::/\n")
    assert available_cores(tmp_path, own) == expected


def test_a_container_that_sees_its_group_as_the_root_has_that_groups_quota(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("300000")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    own = tmp_path / "own"
    own.write_text("4:cpuacct,cpu:/kubepods/of/the/host\n")
    assert available_cores(tmp_path, own) == 3
