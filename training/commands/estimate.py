"""`fulcrum estimate`: what viewers would have done with another fusion config's orders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model.terminal import Json, answer, extra, print_json
from training.commands.fusion_sides import CURRENT, side_of
from training.commands.rendering import Rendered

if TYPE_CHECKING:
    from model.bundle import Bundle
    from training.progress import Observer
    from training.tuning.diff import Side
    from training.tuning.estimating import Estimate

_SMALL = 0.01
"""The difference that an experiment is planned for where there is no other."""


def estimate(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A fusion config.")],
    log: Annotated[
        Path,
        typer.Option("--log", metavar="OUT", help="What `fulcrum events join EVENTS --out OUT` wrote."),
    ],
    bundle: Annotated[
        Path, typer.Option("--bundle", metavar="BUNDLE", help="That served: its requests and labels count.")
    ],
    against: Annotated[
        str,
        typer.Option("--against", metavar="CONFIG", help="Another config; `current` is the log's newest."),
    ] = CURRENT,
    scene: Annotated[str, typer.Option("--scene", help="Whose requests count.")] = "default",
    reward: Annotated[
        str | None,
        typer.Option(
            "--reward",
            metavar="EXPRESSION",
            help="What an impression is worth, over labels, feedback columns and video_len_s, such as "
            "'vtr + 15 * is_share'; the recipe's `reward` where absent, or the sum of all labels.",
        ),
    ] = None,
    examination: Annotated[
        float | None,
        typer.Option(
            "--examination",
            help="Share of those who look at a place that look at the next one, too; logged (`seen`) or "
            "modelled where absent.",
        ),
    ] = None,
    open_too: Annotated[
        bool, typer.Option("--open", help="Also impressions whose windows were open when joined.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of draws and of resampled users.")] = 0,
    json: Json = False,
) -> None:
    """Estimate what a config's orders are worth against another's, from what viewers did with others.

    The log must have explored (`explore: {share, noise}` in its config): only then does it hold what else
    might have been shown. Both configs are taken without exploring. Where the log cannot say, that is the
    answer, with the reason, and the exit status is 0.

        fulcrum estimate mine.yaml --log joined --bundle build/bundle
    """
    with extra("training"):
        from training.commands.estimate_text import printed
        from training.tuning.joined_log import JoinedLog
    from model.bundle import load_bundle

    loaded = load_bundle(bundle)
    joined = JoinedLog(log, scene)
    sides = [side_of(name, joined.newest, log / "configs") for name in (config, against)]
    with Rendered() as observer:
        found, report = estimated(
            loaded,
            log,
            sides,
            observer,
            scene=scene,
            reward=reward,
            examination=examination,
            open_too=open_too,
            seed=seed,
        )
    if json:
        print_json(report)
        return
    experiment = report["experiment"]
    printed(
        found,
        (config, against),
        report["examination"]["how"],
        (experiment["difference"], experiment["requests_per_arm"]),
        answer,
    )


def estimated(
    bundle: Bundle,
    log: Path,
    sides: Sequence[Side],
    observer: Observer,
    *,
    scene: str = "default",
    reward: str | None = None,
    examination: float | None = None,
    open_too: bool = False,
    seed: int = 0,
) -> tuple[Estimate, dict[str, Any]]:
    """What the first side's orders are worth against the second's, and all of it as JSON.

    Args:
        bundle: verified, that served.
        log: what `fulcrum events join` wrote.
        sides: the config, and what it is compared with.
        observer: called with progress.
        scene, reward, examination, open_too, seed: as `estimate` takes them.

    Raises:
        FulcrumError: a config, the reward or the log does not fit the bundle.
    """
    from model.fusion import check_tasks
    from training.tuning.estimating import difference, requests_to_see
    from training.tuning.examination import looks_of
    from training.tuning.outcomes import read_outcomes
    from training.tuning.reward_model import cross_fitted

    for side in sides:
        check_tasks(side.config, bundle.task_names, side.name)
    outcomes = read_outcomes(bundle, log, scene, reward, open_too=open_too, observer=observer)
    looks = looks_of(outcomes, examination)
    found = difference(
        outcomes,
        cross_fitted(outcomes, looks.looks),
        looks.looks,
        *(side.config for side in sides),
        scorers={key: scorer for side in sides for key, scorer in (side.scorers or {}).items()},
        seed=seed,
        observer=observer,
    )
    spread = found.diagnostics["spread"]
    wanted = found.difference or _SMALL
    needed = None if spread is None else requests_to_see(wanted, spread)
    return found, found.report() | {
        "config": sides[0].report(),
        "against": sides[1].report(),
        "source": outcomes.source,
        "left_out": dict(outcomes.left_out),
        "examination": {"how": looks.how, "looks": looks.looks},
        "experiment": {"difference": wanted, "requests_per_arm": needed},
    }
