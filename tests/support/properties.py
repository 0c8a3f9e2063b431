"""Hypothesis profiles: how many examples the properties are checked on. `HYPOTHESIS_PROFILE` names one.

No profile has deadlines or asks how fast examples come: nothing here depends on an idle machine.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

__all__ = ["examples", "load_profile"]

_USUAL = 100
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# New examples in each run; a failing one is kept in .hypothesis and tried first in the next run.
settings.register_profile("default", _PATIENT, max_examples=_USUAL)
# The same examples in each run: a change that fails is at fault itself.
settings.register_profile("ci", _PATIENT, max_examples=_USUAL, derandomize=True, print_blob=True)
settings.register_profile("fast", _PATIENT, max_examples=_USUAL // 10, derandomize=True)
settings.register_profile("thorough", _PATIENT, max_examples=_USUAL * 20)


def load_profile() -> None:
    """Before any test is imported: `examples` reads the profile."""
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def examples(usual: int, *allowed: HealthCheck) -> settings:
    """A property's number of examples under the default profile; others scale it.

    Args:
        usual: beside the 100 that a property without this decorator has.
        *allowed: health checks that the property fails on purpose.
    """
    profile = settings()
    return settings(
        max_examples=max(1, usual * profile.max_examples // _USUAL),
        suppress_health_check=[*profile.suppress_health_check, *allowed],
    )
