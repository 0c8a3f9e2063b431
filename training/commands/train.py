"""`fulcrum train`: a recipe and a log to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model.errors import FulcrumError
from model.terminal import Data, Sets, answer, extra, progress


def train(
    recipe: Annotated[str, typer.Option("--recipe", help="A packaged recipe's name, or a YAML file.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the bundle to write.")],
    data: Data = None,
    model: Annotated[str | None, typer.Option("--model", help="Network, in place of the recipe's.")] = None,
    override: Sets = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="Folder of this run's records; runs/... where absent.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --run, as if it had not been stopped.")
    ] = False,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="BUNDLE",
            help="Start from this bundle's weights; new ids and features are admitted.",
        ),
    ] = None,
    gate: Annotated[
        Path | None,
        typer.Option(
            "--gate",
            metavar="BUNDLE",
            help="Write no bundle that is surely worse than this one on the validation rows, beyond "
            "training.gate; the bundle of --from where absent.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write the bundle even where the gate says no.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write curves for TensorBoard into the run folder.")
    ] = False,
) -> None:
    """Train a network on a log, export it and write the bundle that `serve` loads."""
    with extra("training"):
        from training.commands.training_progress import TrainingProgress, summary
        from training.recipe import load_recipe
        from training.train import TrainingPlan, train_bundle
    if resume and run is None:
        raise FulcrumError("--resume: name the folder of the run to go on with, --run DIR")
    sets = [*(override or ()), *(["training.tensorboard=true"] if tensorboard else [])]
    plan = TrainingPlan(load_recipe(recipe, sets, model), out, data, run, resume, start, gate, force)
    with TrainingProgress() as observer:
        trained = train_bundle(plan, observer)
    progress.print(summary(trained))
    answer.print(f"bundle {out}", trained.manifest.version, highlight=False, soft_wrap=True)
