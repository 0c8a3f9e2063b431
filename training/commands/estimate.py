"""`fulcrum estimate`: what viewers would have done with another fusion config's orders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model.terminal import Json, answer, extra, print_json
from training.commands.fusion_diff import CURRENT, side_of
from training.commands.rendering import Rendered

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
        from training.tuning.estimating import difference, requests_to_see
        from training.tuning.examination import looks_of
        from training.tuning.joined_log import JoinedLog
        from training.tuning.outcomes import read_outcomes
        from training.tuning.reward_model import cross_fitted
    from model.bundle import load_bundle
    from model.fusion import check_tasks

    loaded = load_bundle(bundle)
    joined = JoinedLog(log, scene)
    sides = [side_of(name, joined.newest, log / "configs") for name in (config, against)]
    for side in sides:
        check_tasks(side.config, loaded.task_names, side.name)
    with Rendered() as observer:
        outcomes = read_outcomes(loaded, log, scene, reward, open_too=open_too, observer=observer)
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
    if json:
        print_json(
            found.report()
            | {
                "config": sides[0].report(),
                "against": sides[1].report(),
                "source": outcomes.source,
                "left_out": dict(outcomes.left_out),
                "examination": {"how": looks.how, "looks": looks.looks},
                "experiment": {"difference": wanted, "requests_per_arm": needed},
            }
        )
        return
    printed(found, (config, against), looks.how, (wanted, needed), answer)
