"""Page: the report as one self-contained HTML file.

Puts findings, pictures and tables together. Whatever comes from the recipe is escaped; nothing is loaded from
anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from model.files import replace_file
from training.report.findings.findings import DASH, seesaw, signed
from training.report.page.templates import template
from training.report.pictures.gains import gain_picture
from training.report.pictures.picture import Grid, interval_text, metric_name
from training.report.pictures.seesaw import seesaw_pictures
from training.report.pictures.small_multiples import calibration_pictures, curve_pictures
from training.report.pictures.utilisation import utilisation_pictures


def write_page(report: Mapping[str, Any], path: Path) -> None:
    """Write the page of what `report.json` holds."""
    replace_file(path, render(report).encode())


def render(report: Mapping[str, Any]) -> str:
    """The page as text."""
    page = template("report", drawing=Markup)  # ours, of matplotlib, whose texts are escaped
    gains = [
        picture for key in ("gains", "against_own") if (picture := gain_picture(report, key)) is not None
    ]
    return page.render(
        report=report,
        task_list=", ".join(f"{task['name']} ({metric_name(task)})" for task in report["tasks"]),
        gains=gains,
        seesaws=seesaw_pictures(report),
        utilisation=utilisation_pictures(report),
        differences=_differences(report),
        dead=_dead(report),
        warnings=list(_warnings(report)),
        comparisons=_comparisons(report),
        metrics=_metrics(report),
        curves=curve_pictures(report, "metric") + curve_pictures(report, "loss"),
        calibration=calibration_pictures(report),
        costs=costs(report),
        unfinished=list(_unfinished(report)),
        settings=_settings(report),
    )


def _metrics(report: Mapping[str, Any]) -> Grid:
    rows = []
    for name, of in report["networks"].items():
        cells = [name, _verdict(of)]
        for task in report["tasks"]:
            found = of["metrics"][task["name"]]
            spread = "" if found["deviation"] is None else f" ± {found['deviation']:.4f}"
            cells.append(DASH if found["mean"] is None else f"{found['mean']:.4f}{spread}")
        rows.append(tuple(cells))
    heads = (f"{task['name']} {metric_name(task)}" for task in report["tasks"])
    return Grid(("network", "against single-task", *heads), tuple(rows))


def _verdict(of: Mapping[str, Any]) -> str:
    if of["gains"] is None:
        return "the reference"
    return seesaw(of["gains"]) if all(one["seeds"] for one in of["gains"].values()) else "no run"


def costs(report: Mapping[str, Any]) -> Grid:
    """What each network costs."""
    rows = []
    for name, of in report["networks"].items():
        budget = of["budget"]
        rows.append(
            (
                name,
                _widths(of["network"].get("expert")),
                f"{budget['parameters']:,} ({budget['parameters_ratio'] - 1:+.1%})",
                f"{budget['flops']:,.0f} ({budget['flops_ratio'] - 1:+.1%})",
                DASH if of["parameters_with_inputs"] is None else f"{of['parameters_with_inputs']:,.0f}",
                DASH if of["training_seconds"] is None else f"{of['training_seconds']:.1f}",
                DASH if of["inference_us"] is None else f"{of['inference_us']:.2f}",
            )
        )
    head = (
        "network",
        "expert widths",
        "parameters of the trunk",
        "FLOPs a row",
        "parameters, inputs too",
        "training, s",
        "inference, µs a row",
    )
    return Grid(head, tuple(rows))


def _widths(expert: Any) -> str:
    if isinstance(expert, Mapping):
        return "; ".join(f"{key} {_widths(value)}" for key, value in expert.items())
    return DASH if expert is None else ", ".join(str(width) for width in expert)


def _differences(report: Mapping[str, Any]) -> Grid | None:
    rows = [
        (
            name,
            str(one["level"]),
            f"{one['tasks'][0]} and {one['tasks'][1]}",
            f"{one['distance']:.3f}",
            f"{one['range'][0]:.3f} to {one['range'][1]:.3f}",
            DASH if one["distance_in_common"] is None else f"{one['distance_in_common']:.3f}",
        )
        for name, of in report["networks"].items()
        if of["utilisation"]
        for one in of["utilisation"]["differences"]
    ]
    head = ("network", "level", "gates of", "distance", "over seeds", "among experts that both see")
    return Grid(head, tuple(rows)) if rows else None


def _dead(report: Mapping[str, Any]) -> Grid | None:
    rows = [
        (name, str(one["level"]), one["experts"], f"{one['dead']:.1%}", f"{one['most']:.1%}")
        for name, of in report["networks"].items()
        if of["utilisation"]
        for one in of["utilisation"]["dead"]
    ]
    head = ("network", "level", "experts", "dead units, mean", "dead units, worst expert")
    return Grid(head, tuple(rows)) if rows else None


def _warnings(report: Mapping[str, Any]) -> Iterator[str]:
    for name, of in report["networks"].items():
        for said in of["utilisation"]["warnings"] if of["utilisation"] else ():
            yield f"{name}, {said}."


def _comparisons(report: Mapping[str, Any]) -> Grid | None:
    rows = [
        (
            one["model"],
            one["against"],
            task,
            signed(of["gain"]),
            interval_text(of),
            of["verdict"],
            str(of["seeds"]),
        )
        for one in report["comparisons"]
        for task, of in one["tasks"].items()
    ]
    head = ("network", "against", "task", "gain", "95 % interval", "verdict", "seeds")
    return Grid(head, tuple(rows)) if rows else None


def _unfinished(report: Mapping[str, Any]) -> Iterator[str]:
    for name, reason in report["left_out"].items():
        yield f"{name} is left out: {reason}."
    for name, of in report["networks"].items():
        for run in of["runs"]:
            if run["status"] != "finished":
                yield f"{name}, seed {run['seed']}: {run['status']} ({run['reason']})."
        if not of["budget"]["matched"]:
            yield f"{name}: its budget differs by more than 2 %; whole widths allow no nearer."


def _settings(report: Mapping[str, Any]) -> Grid:
    said, data = report["description"], report["data"]
    chosen = (
        "the last"
        if said["keep"] == "last"
        else f"the best by {said['monitor']['metric']} ({said['monitor']['mode']}) on the validation rows"
    )
    rows = [
        ("recipe", report["recipe"]),
        ("rows", f"{data['train_rows']:,} to train on, {data['validation_rows']:,} to judge on"),
        *(
            (
                f"task {task['name']}",
                f"{task['kind']}, {task['rows']:,} validation rows of {task['users']:,} users"
                + (f", {task['positives']:,} positives" if "positives" in task else ""),
            )
            for task in report["tasks"]
        ),
        ("seeds", ", ".join(map(str, said["seeds"]))),
        ("epoch that is judged", chosen),
        (
            "budgets matched by",
            {"none": "nothing: widths as they are"}.get(said["match"], said["match"])
            + f"; the reference is the recipe's own network ({said['own']}): "
            f"{said['target']['parameters']:,} parameters, {said['target']['flops']:,.0f} FLOPs a row",
        ),
        ("data", report["data"]["fingerprint"]),
        ("made by", ", ".join(f"{key} {value}" for key, value in report["environment"].items())),
    ]
    return Grid(("what", "value"), tuple(rows))
