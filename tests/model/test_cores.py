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
