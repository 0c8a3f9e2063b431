"""`fulcrum evaluate`: what a bundle is worth on a log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model.errors import FulcrumError
from model.files import check_folder
from model.terminal import BundlePath, Data, Json, answer, extra, print_json, progress
from training.commands.rendering import Rendered


def evaluate(
    bundle: BundlePath,
    data: Data = None,
    fusion: Annotated[
        Path | None, typer.Option("--fusion", help="A fusion config whose score is judged too.")
    ] = None,
    scene: Annotated[str, typer.Option("--scene", help="The scene of the fusion config.")] = "default",
    reward: Annotated[
        str | None,
        typer.Option(
            "--reward",
            metavar="EXPRESSION",
            help="With --fusion: what the score's order is to collect, such as 'vtr + 2 * shr'; "
            "the recipe's reward where absent, or the sum of all labels.",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="OTHER", help="A bundle to compare with, row by row."),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            metavar="COLUMN",
            help="Column of the groups in which orders are judged, such as a request id; "
            "the recipe's where absent.",
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            metavar="SQL",
            help="Judge these rows alone, such as 'date >= 20220505'; all rows are their past.",
        ),
    ] = None,
    variant: Annotated[
        str, typer.Option("--variant", help="fp32, or a variant that `fulcrum quantize` added.")
    ] = "fp32",
    detail: Annotated[
        bool, typer.Option("--detail", help="Print all groupings, all rows and calibration in bins, too.")
    ] = False,
    json: Json = False,
    predictions: Annotated[
        Path | None,
        typer.Option("--predictions", help="Write a row an impression: .parquet or .csv."),
    ] = None,
) -> None:
    """Judge a bundle: on its own training folder the validation split, on any other all rows."""
    if predictions is not None and predictions.suffix not in {".parquet", ".csv"}:
        raise FulcrumError(f"--predictions {predictions}: expected a name that ends in .parquet or .csv")
    if predictions is not None:
        check_folder(predictions.absolute().parent, f"--predictions {predictions.name} in")
        if predictions.is_dir():
            raise FulcrumError(f"--predictions {predictions}: this is a folder; name a file")
    if reward is not None and fusion is None:
        raise FulcrumError("--reward judges the order of a fused score: give --fusion FILE too")
    with extra("training"):
        from training.commands.evaluation_tables import details, summary
        from training.evaluation.evaluate import Judgement, evaluate_bundle
        from training.evaluation.fused_order import FusedScore
    from model.bundle import load_bundle

    fused = FusedScore(fusion, scene, reward) if fusion is not None else None
    other = load_bundle(against) if against is not None else None
    with Rendered() as observer:
        evaluation = evaluate_bundle(
            load_bundle(bundle), data, Judgement(fused, other, group, variant, where), observer
        )
    if predictions is not None:
        predictions.parent.mkdir(parents=True, exist_ok=True)
        if predictions.suffix == ".parquet":
            evaluation.rows.write_parquet(predictions)
        else:
            evaluation.rows.write_csv(predictions)
        progress.print(f"predictions of {evaluation.rows.height:,} impressions in {predictions}")
    if json:
        print_json(evaluation.report)
        return
    for part in summary(evaluation.report):
        answer.print(part, highlight=False, soft_wrap=isinstance(part, str))
    for part in details(evaluation.report) if detail else ():
        answer.print(part, highlight=False)
