"""Combinations: what a request may get by its arms in all layers. Knows no store, and loads nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import orjson

from model.errors import FulcrumError
from model.experiments import Arm, Experiment, ExperimentError, Experiments, Layer

MOST = 64
"""Combinations of arms, what is active among them: each is made ahead."""
MOST_BUNDLES = 4
"""Bundles beside the active one that experiments may name: each takes memory in every worker."""


@dataclass(frozen=True)
class Part:
    """What an arm names.

    Attributes:
        bundle: its version.
        revision: its number.
        patch: JSON, its keys sorted.
    """

    bundle: str | None
    revision: int | None
    patch: bytes | None

    @classmethod
    def of(cls, arm: Arm) -> Part | None:
        """What this arm names; None where it names nothing."""
        if arm.bundle is None and arm.revision is None and not arm.patch:
            return None
        patch = orjson.dumps(arm.patch, option=orjson.OPT_SORT_KEYS) if arm.patch else None
        return cls(arm.bundle, arm.revision, patch)


Combination = tuple[Part, ...]
"""In the order of layers; without parts, what is active."""


@dataclass(frozen=True)
class Named:
    """What a combination comes to.

    Attributes:
        bundle: None for the active one.
        revision: None for the active one.
        patches: documents, one after the other on the revision.
    """

    bundle: str | None
    revision: int | None
    patches: Sequence[dict[str, Any]]

    @classmethod
    def of(cls, combination: Combination) -> Named:
        """What arms of several layers come to.

        Raises:
            ExperimentError: two of them name a bundle, or a revision.
        """
        bundles = [part.bundle for part in combination if part.bundle is not None]
        revisions = [part.revision for part in combination if part.revision is not None]
        for what, found in (("bundle", bundles), ("revision", revisions)):
            if len(found) > 1:
                raise ExperimentError(
                    f"arms of two layers name a {what} ({', '.join(map(str, found))}), and a request may be "
                    "in both; stop one of the experiments, or put them into one layer"
                )
        patches = [orjson.loads(part.patch) for part in combination if part.patch is not None]
        return cls(next(iter(bundles), None), next(iter(revisions), None), patches)

    @property
    def title(self) -> str:
        """For messages."""
        base = "the active config" if self.revision is None else f"revision {self.revision}"
        texts = [orjson.dumps(patch).decode() for patch in self.patches]
        shown = [text if len(text) <= 60 else f"{text[:57]}..." for text in texts]
        return f"{base} with the patch {' and '.join(shown)}" if shown else base


def combinations(layers: Iterable[Layer], experiments: Iterable[Experiment]) -> list[Combination]:
    """All unlike combinations of these experiments' arms: at most one arm of each layer.

    Raises:
        ExperimentError: there are too many of them, or of bundles.
    """
    of_layer: dict[str, dict[Part | None, None]] = {layer.name: {None: None} for layer in layers}
    for one in experiments:
        of_layer[one.layer].update(dict.fromkeys(Part.of(arm) for arm in one.arms))
    count = prod(len(parts) for parts in of_layer.values())
    if count > MOST:
        raise ExperimentError(
            f"arms of all layers make {count} combinations, each of which a request may get; expected at "
            f"most {MOST}: stop an experiment, or put more of them into one layer"
        )
    bundles = {part.bundle for parts in of_layer.values() for part in parts if part} - {None}
    if len(bundles) > MOST_BUNDLES:
        raise ExperimentError(
            f"experiments name {len(bundles)} bundles, each of which every worker holds; expected at most "
            f"{MOST_BUNDLES}: stop an experiment"
        )
    return [tuple(part for part in parts if part) for parts in product(*of_layer.values())]


def served(
    experiments: Experiments, candidates: Iterable[Experiment], ready: Callable[[Combination], object]
) -> tuple[list[Experiment], dict[str, str]]:
    """Which experiments can be in force together, and why each other one cannot.

    One is in force with all of its arms or with none, so that their ratio is what was declared. Of two that
    do not go together, the one that was made first is.

    Args:
        experiments: all there are.
        candidates: those that should be in force.
        ready: raises FulcrumError where requests cannot get a combination.
    """
    taken: list[Experiment] = []
    waits: dict[str, str] = {}
    for one in candidates:
        try:
            for combination in combinations(experiments.layers, [*taken, one]):
                ready(combination)
        except FulcrumError as error:
            waits[one.id] = str(error)
        else:
            taken.append(one)
    return taken, waits
