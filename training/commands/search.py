"""`fulcrum search`: values of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.markup import escape

from model.terminal import Data, Json, Sets, answer, extra, print_json


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
        from training.commands.search_progress import SearchProgress, search_table
        from training.search.search import Search, load_space, search
    wanted = Search(recipe, load_space(space), override or ())
    with SearchProgress(trials) as observer:
        found = search(wanted, data, run, trials, observer)
    if json:
        print_json({"trials": found})
        return
    answer.print(search_table(found, wanted.space))
    if found:
        chosen = " ".join(
            f"--set {key}={orjson.dumps(value).decode()}" for key, value in found[0].parameters.items()
        )
        answer.print(f"best: {escape(chosen)}", highlight=False, soft_wrap=True)
