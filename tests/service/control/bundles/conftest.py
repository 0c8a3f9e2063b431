"""A models folder to roll out from."""

from __future__ import annotations

import pytest

from tests.support.rollout_site import Site


@pytest.fixture
def site(tmp_path, world) -> Site:
    return Site(tmp_path, world)
