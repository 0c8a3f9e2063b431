"""The front door: one command line for training and serving.

Commands load what they need when they are called, so that `fulcrum serve` runs where there is no torch.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from model.errors import FulcrumError

app = typer.Typer(
    help="Multi-task ranking for short video: train PLE, export it, serve it, tune the fusion.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
schema_app = typer.Typer(
    help="What a recipe says of a log, and whether the log agrees.", no_args_is_help=True
)
fusion_app = typer.Typer(help="Fusion configs: the weights of the score.", no_args_is_help=True)
app.add_typer(schema_app, name="schema")
app.add_typer(fusion_app, name="fusion")

progress = Console(stderr=True, width=None if sys.stderr.isatty() else 120)
answer = Console(width=None if sys.stdout.isatty() else 120)

Data = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Folder of the log; the recipes demo and bench make their own.", show_default=False
    ),
]
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder that `fulcrum train` wrote.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a recipe value, such as training.epochs=1."),
]


def main() -> None:
    """Run the command line: bad input is one line on stderr and exit status 1."""
    try:
        app()
    except FulcrumError as error:
        progress.print(f"[bold red]error:[/] {_escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        progress.print("interrupted")
        sys.exit(130)


@schema_app.command("check")
def schema_check(
    recipe: Annotated[
        str, typer.Argument(metavar="FILE", help="A recipe YAML, or a packaged recipe's name.")
    ],
    data: Data = None,
    override: Sets = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Read a log as training would: what is wrong with it, row counts, label and mask rates."""
    with _extra("training"):
        from training.preparation.schema_check import check_schema
        from training.recipe import load_recipe
    with progress.status("reading and joining the log"):
        report = check_schema(load_recipe(recipe, override or ()).data_schema, data)
    if json:
        _print_json(report)
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
        answer.print(f"note: {_escape(note)}", highlight=False, soft_wrap=True)
    for warning in report.warnings:
        answer.print(f"[yellow]warning:[/] {_escape(warning)}", highlight=False, soft_wrap=True)
    if not report.warnings:
        answer.print("[green]no warnings[/]")


@app.command()
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
    with _extra("training"):
        from training.recipe import load_recipe
        from training.train import train_bundle
    sets = [*(override or ()), *(["training.tensorboard=true"] if tensorboard else [])]
    loaded = load_recipe(recipe, sets, model)
    trained = train_bundle(
        loaded, data, out, run, progress, resume=resume, start=start, gate=gate, force=force
    )
    answer.print(f"bundle {out}", trained.manifest.version, highlight=False, soft_wrap=True)


@app.command()
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
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Try a recipe with other values, judged on the validation split; several processes may share --run."""
    with _extra("training"):
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
        _print_json({"trials": found})
        return
    answer.print(search_table(found, wanted))
    if found:
        chosen = " ".join(
            f"--set {key}={orjson.dumps(value).decode()}" for key, value in found[0].parameters.items()
        )
        answer.print(f"best: {_escape(chosen)}", highlight=False, soft_wrap=True)


@app.command()
def report(
    recipe: Annotated[str, typer.Option("--recipe", help="A packaged recipe's name, or a YAML file.")],
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the report; given again, the report goes on there.")
    ],
    data: Data = None,
    models: Annotated[
        str | None,
        typer.Option("--models", metavar="A,B", help="Networks beside single-task models; all where absent."),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", help="Trainings of each network: the recipe's seed and those after it.")
    ] = 5,
    tasks: Annotated[
        str | None,
        typer.Option("--tasks", metavar="A,B", help="Some of the recipe's tasks; all if absent."),
    ] = None,
    match: Annotated[
        str,
        typer.Option(
            "--match",
            help="What networks have as much of as the recipe's own, by wider or narrower experts: "
            "flops (a row), parameters (of the trunk) or none.",
        ),
    ] = "flops",
    compare: Annotated[
        list[str] | None,
        typer.Option("--compare", metavar="A,B", help="Also the gain of network A over B; may be repeated."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", help="Processes, one thread each; the usable cores where absent.")
    ] = None,
    minutes: Annotated[
        float, typer.Option("--minutes", help="A run that takes longer is stopped, and told.")
    ] = 10.0,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a recipe value, such as training.epochs=1; network.X is for networks with an X.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what report.json holds.")] = False,
) -> None:
    """Train networks over seeds at equal budgets: does sharing pay, does a seesaw show, for your data?

    Writes report.html, one page that needs nothing else, and report.json. The reference is one network for
    each task, trained alone. Runs are kept one by one: interrupted or given again, only what is missing is
    trained, and more --seeds or --models may be asked for. docs/report.md says how to read it.

        fulcrum report --recipe demo --models cgc,ple,mmoe --seeds 3 --out build/report
    """
    with _extra("report"):
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401 (missing after hours of training would be too late)
    with _extra("training"):
        from training.report.page.table import report_table
        from training.report.report import make_report
    if match not in ("flops", "parameters", "none"):
        raise FulcrumError(f"--match {match}: expected flops, parameters or none")
    found = make_report(
        recipe,
        data,
        out,
        progress,
        models=_names(models, "--models"),
        tasks=_names(tasks, "--tasks"),
        seeds=seeds,
        match=match,  # type: ignore[arg-type]
        jobs=jobs,
        minutes=minutes,
        compare=[_pair(text) for text in compare or ()],
        overrides=override or (),
    )
    if json:
        _print_json(found)
        return
    answer.print(report_table(found))
    for sentence in found["findings"]:
        answer.print(f"- {_escape(sentence)}", highlight=False, soft_wrap=True)
    answer.print(f"report {out / 'report.html'}", highlight=False, soft_wrap=True)


@app.command()
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
            "the sum of all labels where absent.",
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
    variant: Annotated[
        str, typer.Option("--variant", help="fp32, or a variant that `fulcrum quantize` added.")
    ] = "fp32",
    detail: Annotated[
        bool, typer.Option("--detail", help="Print all groupings, all rows and calibration in bins, too.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    predictions: Annotated[
        Path | None,
        typer.Option("--predictions", help="Write a row an impression: .parquet or .csv."),
    ] = None,
) -> None:
    """Judge a bundle: on its own training folder the validation split, on any other all rows."""
    if predictions is not None and predictions.suffix not in {".parquet", ".csv"}:
        raise FulcrumError(f"--predictions {predictions}: expected a name that ends in .parquet or .csv")
    with _extra("training"):
        from training.evaluation.evaluate import evaluate_bundle
        from training.evaluation.tables import details, summary
    from model.bundle import load_bundle

    evaluation = evaluate_bundle(
        load_bundle(bundle),
        data,
        fusion,
        scene,
        progress,
        reward=reward,
        against=load_bundle(against) if against is not None else None,
        group=group,
        variant=variant,
    )
    if predictions is not None:
        predictions.parent.mkdir(parents=True, exist_ok=True)
        if predictions.suffix == ".parquet":
            evaluation.rows.write_parquet(predictions)
        else:
            evaluation.rows.write_csv(predictions)
        progress.print(f"predictions of {evaluation.rows.height:,} impressions in {predictions}")
    if json:
        _print_json(evaluation.report)
        return
    for part in summary(evaluation.report):
        answer.print(part, highlight=False, soft_wrap=isinstance(part, str))
    for part in details(evaluation.report) if detail else ():
        answer.print(part, highlight=False)


@app.command()
def quantize(
    bundle: BundlePath,
    data: Data = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Add the variant int8 to a bundle: the same network in 8-bit integers, twice as fast if it is large.

    Calibrated on rows that the bundle was trained on, judged on rows that it
    was not: what each task and the order of a fused top 50 lose must surely be
    next to nothing, or it does not serve. The bundle keeps its version. Serve
    it by `fulcrum serve --variant auto`; docs/variants.md says what is measured.
    """
    with _extra("training"):
        from training.export.quantization import INT8
        from training.export.variants import quantize_bundle
    from model.bundle import load_bundle

    entry, gate = quantize_bundle(load_bundle(bundle), data, progress)
    if json:
        _print_json(entry.model_dump(mode="json"))
    else:
        answer.print(gate.table())
        answer.print(
            f"{entry.speedup:.2f} times as fast as float32 here (500 candidates, one thread); "
            f"the best 50 of {gate.requests} requests have {gate.overlap:.1%} in common",
            highlight=False,
            soft_wrap=True,
        )
    if not entry.passed:
        failed = ", ".join(check.name for check in gate.failures)
        raise FulcrumError(
            f"bundle {bundle}: {INT8} does not pass its gate ({failed}); the bundle serves fp32 as before"
        )
    progress.print(f"{bundle} has the variant {INT8}: fulcrum serve --variant auto", soft_wrap=True)


@app.command()
def publish(
    bundle: BundlePath,
    to: Annotated[str, typer.Option("--to", help="Folder of the feature store.")],
    data: Data = None,
) -> None:
    """Encode all users and items of a data set into a feature store, atomically."""
    with _extra("training"):
        from training.publishing.publish import publish as publish_rows
    from model.bundle import load_bundle

    published = publish_rows(load_bundle(bundle), data, to, progress)
    answer.print(f"published {published.users:,} users and {published.items:,} items to {to}", soft_wrap=True)


@app.command()
def serve(
    features: Annotated[
        str | None,
        typer.Option("--features", help="A store that `fulcrum publish` filled: a folder, or redis://..."),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="A bundle that `fulcrum train` wrote, served for good.")
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option("--models", help="A watched folder of bundles: the newest serves, or the activated."),
    ] = None,
    state: Annotated[
        str | None, typer.Option("--state", help="Where the activated version is kept: a file or redis://...")
    ] = None,
    fusion: Annotated[
        Path | None, typer.Option("--fusion", help="Fusion config, watched; the bundle's own where absent.")
    ] = None,
    provider: Annotated[
        str | None, typer.Option("--provider", help="auto, cpu, cuda or openvino; auto where absent.")
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            "--variant",
            help="fp32, a variant that the bundle has, such as int8, or auto: the fastest that passed its "
            "gate and suits this machine; fp32 where absent.",
        ),
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="127.0.0.1 where absent.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="8000 where absent; 0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Processes; 1 where absent.")] = None,
) -> None:
    """Serve over HTTP: POST /v1/rank. Each option is an environment variable FULCRUM_*, too; docs/service.md
    lists these and the settings that are nothing else: timeouts, limits, feature cache, logs, admin token.
    """
    gc.disable()  # nothing imported is garbage, and looking for it takes a tenth of the start
    with _extra("service"):
        from service.server import run
        from service.settings import load_settings
    run(
        load_settings(
            bundle=bundle,
            models=models,
            state=state,
            features=features,
            fusion=fusion,
            provider=provider,
            variant=variant,
            host=host,
            port=port,
            workers=workers,
        )
    )


@app.command()
def rank(
    user: Annotated[str, typer.Option("--user", help="User id.")],
    candidates: Annotated[
        Path, typer.Option("--candidates", help="Ids, one a line, or a JSON list; - for standard input.")
    ],
    url: Annotated[str, typer.Option("--url", help="Where the service listens.")] = "http://127.0.0.1:8000",
    scene: Annotated[str, typer.Option("--scene")] = "default",
    top_k: Annotated[int, typer.Option("--top-k", help="Items to return.")] = 20,
    context: Annotated[
        list[str] | None, typer.Option("--context", metavar="NAME=VALUE", help="A context feature.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show each term of the score.")] = False,
    timeout_ms: Annotated[float | None, typer.Option("--timeout-ms", help="Deadline of the ranking.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the service's answer as it is.")] = False,
) -> None:
    """Ask a running service to rank candidates for a user: a client for hands."""
    from service.client import rank as ask

    ask(
        url=url,
        user=user,
        candidates=candidates,
        scene=scene,
        top_k=top_k,
        explain=explain,
        context=_context(context or []),
        timeout_ms=timeout_ms,
        as_json=json,
    )


@fusion_app.command("validate")
def fusion_validate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A fusion config.")],
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="Check the task names against this bundle.")
    ] = None,
) -> None:
    """Say whether a fusion config is sound, and its version."""
    from model.fusion import version

    config = _fusion(file, bundle)
    answer.print(f"valid  {version(config)}  scenes: {', '.join(config.scenes)}", soft_wrap=True)


@fusion_app.command("show")
def fusion_show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A fusion config.")],
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="List this bundle's tasks that the config leaves out.")
    ] = None,
) -> None:
    """Show a fusion config with its defaults filled in: what each term of the score is."""
    from model.bundle import load_bundle
    from model.fusion import version

    config = _fusion(file, bundle)
    tasks = load_bundle(bundle).task_names if bundle is not None else []
    answer.print(f"[bold]{_escape(str(file))}[/]  {version(config)}", highlight=False, soft_wrap=True)
    for name, scene in config.scenes.items():
        table = Table("term", "weight", "of", title=f"scene {name}: {scene.formula}", title_justify="left")
        for task, term in scene.tasks.items():
            low, high = term.clip
            smoothed = f" + {term.smoothing:g}" if term.smoothing else ""
            table.add_row(task, f"{term.weight:g}", f"log(clip(p, {low:g}, {high:g}){smoothed})")
        for task in tasks:
            if task not in scene.tasks:
                table.add_row(task, "0", "left out of the config")
        length = scene.video_len.model_dump()
        settings = ", ".join(
            f"{key} {value}" for key, value in length.items() if key not in {"kind", "weight"}
        )
        table.add_row("video_len", f"{length.get('weight', 0):g}", f"log f: {length['kind']}  {settings}")
        answer.print(table)


def _fusion(file: Path, bundle: Path | None) -> Any:
    from model.bundle import load_bundle
    from model.fusion import check_tasks, load_fusion

    config = load_fusion(file)
    if bundle is not None:
        check_tasks(config, load_bundle(bundle).task_names)
    return config


def _names(text: str | None, option: str) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise FulcrumError(f"{option} {text!r}: expected names with commas between them, such as a,b")
    return names


def _pair(text: str) -> tuple[str, str]:
    names = _names(text, "--compare") or []
    if len(names) != 2:
        raise FulcrumError(f"--compare {text}: expected two networks, such as ple,mmoe")
    return names[0], names[1]


def _context(pairs: list[str]) -> dict[str, Any]:
    context: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise FulcrumError(f"--context {pair}: expected NAME=VALUE, such as hour=21")
        try:
            context[name] = orjson.loads(text)
        except orjson.JSONDecodeError:
            context[name] = text
    return context


def _print_json(value: Any) -> None:
    print(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode())  # noqa: T201


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """A command whose extra is not installed says so, and how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        root = (error.name or "").partition(".")[0]
        if root in {"model", "training", "service"}:
            raise
        raise FulcrumError(
            f"this command needs the extra `{name}`, of which {root!r} is not installed: "
            f"pip install '.[{name}]' -c constraints.txt"
        ) from error


if __name__ == "__main__":
    main()
