"""`fulcrum search`: values of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

from model.terminal import Data, Json, Sets, answer, escape, extra, print_json, progress


def search(
    recipe: Annotated[str, typer.Option("--recipe", help="A packaged recipe's name, or a YAML file.")],
    space: Annotated[
        Path, typer.Option("--space", help="YAML: objective, parameters, fixed, seeds (docs/recipes.md).")
    ],
    run: Annotated[
        Path, typer.Option("--run", help="Folder of the trials; given again, the search goes on there.")
    ],
    data: Data = None,
    trials: Annotated[
        int, typer.Option("--trials", min=1, help="How many trials the folder is to hold in the end.")
    ] = 30,
    override: Sets = None,
    json: Json = False,
) -> None:
    """Try a recipe with other values, judged on the validation split; several processes may share --run."""
    with extra("training"):
        from training.search.search import Trial, load_space, search
        from training.search.table import search_progress, search_table
    wanted = load_space(space)
    names = list(wanted.objective)
    with search_progress(progress) as bars:
        bar = bars.add_task("reading the log", total=trials)

        def tell(trial: Trial, best: Trial) -> None:
            found = "  ".join(f"{name} {trial.metrics[name]:.5f}" for name in names)
            star = "  [green]best[/]" if trial.number == best.number else ""
            progress.print(f"trial {trial.number}  {found}  ({trial.seconds:.0f} s){star}", highlight=False)
            bars.update(bar, description="trials", completed=trial.number + 1)

        found = search(recipe, wanted, data, run, trials, overrides=override or (), on_trial=tell)
    if json:
        print_json({"trials": found})
        return
    answer.print(search_table(found, wanted))
    if found:
        chosen = " ".join(
            f"--set {key}={orjson.dumps(value).decode()}" for key, value in found[0].parameters.items()
        )
        answer.print(f"best: {escape(chosen)}", highlight=False, soft_wrap=True)
