"""Regret: how much of the true value of the best order each fusion loses, in a world with a known truth.

A PLE per seed (recipe demo, two epochs) predicts the candidates of requests; the world says what each
candidate is truly worth. Regret is the share of the oracle order's true value that another order loses among
the first ten, positions weighted by how often viewers look at them. The best scenes of a formula are searched
for on requests of their own, by the truth, and so are what the formula could reach, not what a log teaches.
The reward changes no log, so both worlds of a seed share one bundle.

    python -m benchmarks.regret [--seeds 5] [--requests 1600] [--world both] [--json]

Bundles stay in build/regret. Intervals are Student's over seeds, 95 %. Shapes: R requests, P candidates.
"""

from __future__ import annotations

import json as jsons
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.best_fusion import FORMS, TASKS, best, product
from model.bundle import Bundle, load_bundle
from model.fusion import DEFAULT_SCENE, Scene, default_fusion, load_fusion, parse_fusion, score
from model.fusion.noise import Explore
from tests.support.world_logs import by_bundle
from training.simulation import AdditiveReward, ComplementaryReward, Impressions, World, WorldConfig
from training.simulation.reward import Reward
from training.viewers import Audience

HOME = Path("build/regret")
FULCRUM = str(Path(sys.executable).with_name("fulcrum"))
REWARDS: dict[str, Reward] = {
    "additive": AdditiveReward(),
    "complementary": ComplementaryReward(),
}
FIRST_SEED, SLOTS = 7, 10
JUDGED, SEARCHED = 1, 2
"""Seeds of the audiences."""
SEARCH_REQUESTS = 1_000
SMOOTHINGS = (0.5, 1, 3, 10)
"""Multiples of the tasks' means."""
PLAIN = default_fusion(TASKS).scenes[DEFAULT_SCENE]
BEFORE = parse_fusion(
    """
    schema_version: 1
    scenes:
      default:
        formula: log_power
        tasks: {vtr: {weight: 1.0}, vcr: {weight: 0.5}, shr: {weight: 0.1}, cmr: {weight: 0.1}}
        video_len: {kind: log, scale_s: 30.0, weight: 0.5}
    """
).scenes[DEFAULT_SCENE]
"""examples/fusion.yaml before it had smoothing."""
FILE = Path("examples/fusion.yaml")
EXPLORE = Explore(share=1.0, noise=0.2)
DEVIATION, EXPLORING = "(sd of a request's reward / mean)", f"(exploring all by {EXPLORE.noise:g})"
T_95 = (0.0, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's quantile by degrees of freedom."""
Floats = NDArray[np.float64]
Predictions = dict[str, Floats]
console = Console(width=None if sys.stdout.isatty() else 140)


@dataclass(frozen=True, eq=False)
class Requests:
    """Requests with all their candidates; rows that are shorter than P repeat their first candidate.

    Attributes:
        rows: impressions of viewers who look for certain [R * P].
        real: whether it is a candidate [R, P].
        looks: how often position k is looked at [SLOTS].
    """

    rows: Impressions
    real: NDArray[np.bool_]
    looks: Floats

    @classmethod
    def of(cls, world: World, seed: int, count: int) -> Requests:
        """The first requests of an audience."""
        visits = list(islice(Audience(world, seed).visits(count), count))
        pool = world.config.pool
        videos = np.array([[*v.candidates, *[v.candidates[0]] * (pool - len(v.candidates))] for v in visits])
        real = np.arange(pool) < np.array([[len(visit.candidates)] for visit in visits])
        user, hour, tab = (
            np.repeat([getattr(visit, name) for visit in visits], pool) for name in ("user", "hour", "tab")
        )
        looks = world.viewers.patience[[visit.user for visit in visits]][:, None] ** np.arange(SLOTS)
        return cls(Impressions(user, videos.reshape(-1), hour, tab, None), real, looks.mean(axis=0))

    def values(self, worth: Floats, scores: Floats) -> Floats:
        """True value of the first SLOTS of each request, the highest score first: of [R * P] both -> [R]."""
        ranked = np.where(self.real, -scores.reshape(self.real.shape), np.inf)
        first = np.argpartition(ranked, SLOTS, axis=1)[:, :SLOTS]
        order = np.argsort(np.take_along_axis(ranked, first, axis=1), axis=1, kind="stable")
        shown = np.take_along_axis(first, order, axis=1)
        taken: Floats = np.take_along_axis(worth.reshape(self.real.shape), shown, axis=1) @ self.looks
        return taken

    def of_chance(self, worth: Floats) -> float:
        """Mean value of a random order."""
        means = np.where(self.real, worth.reshape(self.real.shape), 0.0).sum(axis=1) / self.real.sum(axis=1)
        return float(means.mean() * self.looks.sum())


class Judge:
    """Values of scenes on some requests.

    Args:
        requests: R.
        worth: true reward of each candidate [R * P].
        p: predictions by task [R * P] each.
        length_s: of each candidate [R * P].
    """

    def __init__(self, requests: Requests, worth: Floats, p: Predictions, length_s: Floats) -> None:
        self.requests, self.worth, self.p, self.length_s = requests, worth, p, length_s

    def value(self, scene: Scene) -> float:
        """Mean true value of the order by a scene."""
        scores = score(scene, self.p, self.length_s).order
        return float(self.requests.values(self.worth, scores).mean())

    def explored(self, scene: Scene, draws: int = 4) -> float:
        """The same where every request has weights of its own."""
        names, pool = list(scene.parameters()), self.requests.real.shape[1]
        means = np.array(list(scene.parameters().values()))
        hashes = np.random.default_rng(0).integers(0, 2**63, (draws, len(self.requests.real)), np.uint64)
        values = []
        for drawn in hashes:
            scores = np.empty(len(self.worth))
            for request, weights in enumerate(EXPLORE.draw(means, drawn).tolist()):
                part = slice(request * pool, (request + 1) * pool)
                mine = scene.with_parameters(dict(zip(names, weights, strict=True)))
                p = {task: values[part] for task, values in self.p.items()}
                scores[part] = score(mine, p, self.length_s[part]).order
            values.append(self.requests.values(self.worth, scores).mean())
        return float(np.mean(values))


def predicted(bundle: Bundle, requests: Requests) -> Predictions:
    """What the bundle's network says of every candidate, as it is published and served: [R * P] by task."""
    found = by_bundle(bundle)(requests.rows, np.full(*requests.real.shape), None)
    return {task: found[task].astype(np.float64) for task in TASKS}


def kept(bundle: Bundle, audience: int, requests: Requests) -> Predictions:
    """The same, from the run before where there was one."""
    file = HOME / f"predicted-{bundle.version[-12:]}-{audience}-{len(requests.real)}.npz"
    if not file.exists():
        whole = file.with_suffix(f".{os.getpid()}.npz")
        np.savez(whole, allow_pickle=False, **predicted(bundle, requests))
        whole.replace(file)
    return dict(np.load(file))


def fixed(bundle: Bundle, means: dict[str, float]) -> dict[str, Scene]:
    """Scenes that nobody searches for."""
    smoothed = {
        f"plain product, smoothing {times} x mean": product([1 / (1 + times)] * 4 + [0.0], means, [times] * 4)
        for times in SMOOTHINGS
    }
    return {
        "plain product": PLAIN,
        **smoothed,
        "the bundle's own fusion": load_fusion(bundle.fusion_path).scenes[DEFAULT_SCENE],
        f"{FILE}, before": BEFORE,
        f"{FILE}": load_fusion(FILE).scenes[DEFAULT_SCENE],
    }


def trained(seed: int) -> Bundle:
    """The demo's bundle of a seed, of its world and of its training."""
    path = HOME / f"bundle-{seed}"
    if not (path / "manifest.json").exists():
        values = {
            "training.epochs": 2,
            "training.threads": 1,
            "training.seed": seed,
            "data.options.seed": seed,
        }
        words = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
        command = ["train", "--recipe", "demo", "--out", path, "--run", HOME / f"run-{seed}", *words]
        quiet = subprocess.DEVNULL
        one = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([FULCRUM, *map(str, command)], check=True, env=one, stdout=quiet)
    return load_bundle(path)


def regrets(seed: int, worlds: Sequence[str], requests: int) -> Iterator[tuple[str, str, str, float]]:
    """World, predictions, what and its regret, and what else is measured, of one seed."""
    bundle = trained(seed)
    base = World.create(WorldConfig(seed=seed))
    both = [
        Requests.of(base, JUDGED, requests),
        Requests.of(base, SEARCHED, SEARCH_REQUESTS),
    ]
    by_network = [
        kept(bundle, audience, each) for audience, each in zip((JUDGED, SEARCHED), both, strict=True)
    ]
    for name in worlds:
        world = World(WorldConfig(seed=seed, reward=REWARDS[name]), base.viewers, base.videos)
        truths = [world.expect(each.rows) for each in both]
        by_truth = [{task: getattr(truth, task) for task in TASKS} for truth in truths]
        for source, of in (("true", by_truth), ("PLE", by_network)):
            judged, searched = (
                Judge(each, truth.reward, p, world.videos.duration_ms[each.rows.video] / 1000.0)
                for each, truth, p in zip(both, truths, of, strict=True)
            )
            oracle = float(judged.requests.values(judged.worth, judged.worth).mean())
            if source == "true":
                yield name, source, "random order", 1.0 - judged.requests.of_chance(judged.worth) / oracle
                yield name, source, DEVIATION, _deviation(world, judged)
            means = {task: float(values.mean()) for task, values in searched.p.items()}
            scenes = fixed(bundle, means)
            for what, scene in scenes.items():
                yield name, source, what, 1.0 - judged.value(scene) / oracle
            for what, form in FORMS.items():
                scene = best(form, searched.value, means)
                yield name, source, what, 1.0 - judged.value(scene) / oracle
                print(f"{seed} {name} {source} {what}: {scene.model_dump_json()}", file=sys.stderr)
            if source == "PLE":
                for what in (f"{FILE}, before", f"{FILE}"):
                    cost = 1.0 - judged.explored(scenes[what]) / judged.value(scenes[what])
                    yield name, source, f"{EXPLORING}: {what}", cost


def _deviation(world: World, judge: Judge) -> float:
    """Standard deviation of a request's realised reward over its mean, ranked by the truth."""
    shape, audience = judge.requests.real.shape, Audience(world, JUDGED)
    order = np.argsort(np.where(judge.requests.real, -judge.worth.reshape(shape), np.inf), axis=1)[:, :SLOTS]
    shown = np.take_along_axis(judge.requests.rows.video.reshape(shape), order, axis=1)
    visits = audience.visits(len(shown))
    realised = [audience.watch(visit, row).realised for visit, row in zip(visits, shown, strict=True)]
    return float(np.std(realised) / np.mean(realised))


def estimate(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean over seeds and its interval."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = T_95[len(values) - 1] * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return mean, mean - half, mean + half


def main(
    seeds: Annotated[int, typer.Option(min=1, max=len(T_95))] = 5,
    requests: Annotated[int, typer.Option(min=100)] = 1_600,
    world: Annotated[Literal["additive", "complementary", "both"], typer.Option()] = "both",
    json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Print the regret of each fusion."""
    worlds = list(REWARDS) if world == "both" else [world]
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        began = time.perf_counter()
        for name, source, what, value in regrets(seed, worlds, requests):
            found.setdefault((name, source), {}).setdefault(what, []).append(value)
        print(f"seed {seed}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    for rows in found.values():
        for less in (
            ("best product, smoothing", "best product, no smoothing"),
            ("best weighted sum", "best product, smoothing"),
        ):
            one, other = (rows[what] for what in less)
            rows[f"{less[0]} less {less[1]}"] = [a - b for a, b in zip(one, other, strict=True)]
    if json:
        lines = [
            {
                "world": name,
                "predictions": source,
                "what": what,
                "values": values,
                "estimate": estimate(values),
            }
            for (name, source), rows in found.items()
            for what, values in rows.items()
        ]
        print(jsons.dumps({"seeds": seeds, "requests": requests, "lines": lines}, indent=1))
        return
    table = Table(
        "regret", *(f"{name}, {source}" for name, source in found), title=f"{seeds} seeds of {requests:,}"
    )
    for what in dict.fromkeys(what for rows in found.values() for what in rows):
        cells = [_cell(rows.get(what)) for rows in found.values()]
        table.add_row(what, *cells)
    console.print(table)


def _cell(values: Sequence[float] | None) -> str:
    if values is None:
        return ""
    mean, low, high = estimate(values)
    return f"{mean:.4f} [{low:.4f}, {high:.4f}]"


if __name__ == "__main__":
    typer.run(main)
