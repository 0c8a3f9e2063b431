"""What the loop was worth, as a picture: pieces of the traffic beside fusions by the world's truth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.best_fusion import FORMS, best
from model.bundle import load_bundle
from model.fusion import DEFAULT_SCENE, FusionConfig, Scene, load_fusion, parse_fusion
from tests.support.world_logs import WorldRequests, by_bundle
from training.datasets.served import world_of
from training.simulation import World
from training.tuning.objective import scored

SEARCHED, JUDGED = 3_000, 5_000
"""Requests, of audiences of their own, that the truth is searched on, and that say what is found is worth."""


def marks(bundle: Path, configs: Mapping[str, Any]) -> dict[str, float]:
    """What a request is truly worth by the bundle's own fusion, these configs, the best product and sum."""
    loaded = load_bundle(bundle)
    world = World.create(world_of(loaded.schema, f"bundle {bundle}"))
    predictor = by_bundle(loaded)
    searched, judged = (
        WorldRequests.of(world, count, predictor, seed) for count, seed in ((SEARCHED, 901), (JUDGED, 902))
    )
    means = {task: float(p.mean()) for task, p in searched.requests.predictions.items()}

    def value(scene: Scene) -> float:
        return float(searched.true_values(scored(scene, searched.requests)).mean())

    found = {"bundle's own": judged.true_value(load_fusion(loaded.fusion_path))}
    for name, document in configs.items():
        found[name] = judged.true_value(parse_fusion(json.dumps(document)))
    for name, form in (("best product", "best product, smoothing"), ("best sum", "best weighted sum")):
        scene = best(FORMS[form], value, means)
        found[name] = judged.true_value(FusionConfig(schema_version=1, scenes={DEFAULT_SCENE: scene}))
    return found


def draw(pieces: Sequence[Any], lines: dict[str, float], file: Path) -> None:
    """Worth over requests, with intervals; experiments as bands.

    Args:
        pieces: of the traffic, as `examples.loop.Worth`.
        lines: from `marks`.
        file: .svg or .png.
    """
    figure = Figure(figsize=(9.0, 4.5), layout="constrained")
    axes = figure.subplots()
    at = [one.requests for one in pieces]
    values = [one.value for one in pieces]
    errors = [[one.value - one.low for one in pieces], [one.high - one.value for one in pieces]]
    width = at[0] if at else 1
    for one in pieces:
        if one.experiment is not None:
            axes.axvspan(one.requests - width, one.requests, color="#cfe2f3", linewidth=0)
    axes.errorbar(at, values, yerr=errors, fmt="o-", color="#1f4e79", markersize=3, linewidth=1.2, capsize=2)
    for name, value in lines.items():
        if name.startswith("revision"):
            continue
        axes.axhline(value, color="#777777", linewidth=0.9, linestyle="--")
        axes.annotate(
            name,
            (1.0, value),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 3),
            textcoords="offset points",
            ha="right",
            fontsize=9,
            color="#444444",
        )
    revisions = [pieces[0].revision] + [one.revision for one in pieces]
    for one, (before, after) in zip(pieces, pairwise(revisions), strict=True):
        if after != before:
            axes.axvline(one.requests - width, color="#2e7d32", linewidth=1.0)
            axes.annotate(
                f"revision {after}",
                (one.requests - width, 0.02),
                xycoords=("data", "axes fraction"),
                xytext=(3, 0),
                textcoords="offset points",
                fontsize=9,
                color="#2e7d32",
            )
    axes.set_xlabel("requests (blue: an experiment runs on all of them, half in each arm)")
    axes.set_ylabel("true reward a request, 95 %")
    axes.grid(axis="y", linewidth=0.4)
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(file)
