"""`fulcrum schema`: what a recipe says of a log."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from model.terminal import Data, Json, Sets, answer, extra, print_json, progress

app = typer.Typer(help="What a recipe says of a log, and whether the log agrees.", no_args_is_help=True)


@app.command("check")
def schema_check(
    recipe: Annotated[
        str, typer.Argument(metavar="FILE", help="A recipe YAML, or a packaged recipe's name.")
    ],
    data: Data = None,
    override: Sets = None,
    json: Json = False,
) -> None:
    """Read a log as training would: what is wrong with it, row counts, label and mask rates."""
    with extra("training"):
        from training.preparation.schema_check import check_schema
        from training.recipe import load_recipe
    with progress.status("reading and joining the log"):
        report = check_schema(load_recipe(recipe, override or ()).data_schema, data)
    if json:
        print_json(report)
        return
    answer.print(
        f"{report.rows:,} impressions "
        f"({report.train_rows:,} to train on, {report.validation_rows:,} to validate), "
        f"{report.users:,} users" + (f", {report.items:,} items" if report.items is not None else "")
    )
    tasks = Table("task", *("rows", "of all", "positives", "mean, training", "mean, validation"))
    for task in report.tasks:
        positives = f"{task.positives:,}" if task.positives is not None else ""
        means = (f"{task.train_mean:.4f}", f"{task.validation_mean:.4f}")
        tasks.add_row(task.name, f"{task.rows:,}", f"{task.mask_rate:.1%}", positives, *means)
    answer.print(tasks)
    features = Table("feature", "side", "kind", "missing", "holds", "unknown in validation")
    for feature in report.features:
        unknown = feature.unknown_in_validation
        features.add_row(
            feature.name,
            feature.side,
            feature.kind,
            f"{feature.missing:.1%}",
            feature.size,
            "" if unknown is None else f"{unknown:.1%}",
        )
    answer.print(features)
    for note in report.notes:
        answer.print(f"note: {escape(note)}", highlight=False, soft_wrap=True)
    for warning in report.warnings:
        answer.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False, soft_wrap=True)
    if not report.warnings:
        answer.print("[green]no warnings[/]")
