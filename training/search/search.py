"""Search: trials of a recipe with other values, each trained and judged on the validation split.

A search space is a YAML of its own, beside the recipe it searches. Optuna proposes and remembers; this module
knows what a trial is, not which one to try next. Trials live in a folder: run again, the search goes on, and
several processes may work on it at once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import optuna
import optuna.storages.journal as journal
import orjson
from pydantic import Discriminator, Field, Tag, model_validator

from model.document import read_document, read_text
from model.encoding import Encoder
from model.errors import FulcrumError, checked
from model.files import check_folder, replace_file
from model.frozen import Frozen
from model.schema import Schema
from training.fitting.device import training_device
from training.fitting.network import fresh_network
from training.fitting.trainer import FitPlan, fit, judge
from training.progress import Advanced, Event, Observer, Warned, silent
from training.recipe import Recipe, load_recipe
from training.rows.material import Material, material_in_memory

_SPACE, _JOURNAL = "space.json", "trials.journal"
_ENDED = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)


class Range(Frozen):
    """Numbers from `low` to `high`, both included; whole ones where both are."""

    low: int | float
    high: int | float
    log: bool = False
    """Whether a factor counts as much at the low end as at the high end."""

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are tried."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high and (not self.whole or value == int(value))

    def __str__(self) -> str:
        return f"{'whole numbers from ' if self.whole else ''}{self.low} to {self.high}"

    @model_validator(mode="after")
    def _rising(self) -> Range:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(
                f"expected low < high, and low > 0 with log; found low {self.low}, high {self.high}"
            )
        return self


class Choices(Frozen):
    """One of these values, whatever YAML can say."""

    choices: Annotated[tuple[Any, ...], Field(min_length=2)]

    def __str__(self) -> str:
        return f"one of {', '.join(map(_yaml, self.choices))}"


Values = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")],
    Discriminator(
        lambda value: (
            "choices"
            if isinstance(value, Choices) or (isinstance(value, Mapping) and "choices" in value)
            else "range"
        )
    ),
]


class SearchSpace(Frozen):
    """What is searched, and by what a trial is judged."""

    objective: Annotated[dict[str, float], Field(min_length=1)]
    """What is made as large as it can be: validation metrics (`TASK.METRIC`) times these weights, summed. A
    metric of which less is better has a negative weight."""
    parameters: Annotated[dict[str, Values], Field(min_length=1)]
    """By dotted key."""
    fixed: dict[str, Any] = Field(default_factory=dict)
    """Overrides of all trials: another split, say, so that the recipe's own validation stays unseen."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (7,)
    """Each trial is trained once with each seed; metrics are means over them."""


@dataclass(frozen=True)
class Trial:
    """One trial that came to its end.

    Attributes:
        number: counted from 0; the recipe's own values come first, as far as they lie in the space.
        value: the objective.
        parameters: by dotted key.
        metrics: mean over seeds, by `TASK.METRIC`.
        spread: standard deviation over seeds of each; 0 with one seed.
        seconds: of all its trainings.
    """

    number: int
    value: float
    parameters: dict[str, Any]
    metrics: dict[str, float]
    spread: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class TrialEnded(Event):
    """A trial came to its end."""

    trial: Trial
    best: Trial
    """So far, of the folder."""


@dataclass(frozen=True)
class Search:
    """A recipe and the values that are tried in it.

    Attributes:
        recipe: packaged name or file.
        space: the values.
        overrides: of all trials, `KEY=VALUE`.
    """

    recipe: str
    space: SearchSpace
    overrides: Sequence[str] = ()

    def recipe_with(self, values: Mapping[str, Any]) -> Recipe:
        """The recipe with these values by dotted key, and all that is fixed."""
        given = (f"{key}={_yaml(value)}" for key, value in [*self.space.fixed.items(), *values.items()])
        return load_recipe(self.recipe, [*self.overrides, *given])


def load_space(path: Path) -> SearchSpace:
    """Read a search space.

    Raises:
        FulcrumError: the file cannot be read, or says what is wrong in it.
    """
    try:
        return checked(SearchSpace, read_document(read_text(path)))
    except FulcrumError as error:
        raise FulcrumError(f"search space {path}: {error}") from error


def search(
    wanted: Search, data: Path | None, folder: Path, trials: int, observer: Observer = silent
) -> list[Trial]:
    """Try until the folder holds so many trials; those that it holds already count.

    Args:
        wanted: what to search.
        data: the log's files; None where the recipe needs none.
        folder: keeps the trials.
        trials: how many there are to be in the end, the recipe's own values being the first.
        observer: called with each trial that ended, and with a warning for each value of the recipe that lies
            outside the space, so that the first trial takes another.

    Returns:
        All trials of the folder, the best first.

    Raises:
        FulcrumError: the folder holds a search of another recipe or space, or a key or value does not fit.
    """
    space, own = wanted.space, wanted.recipe_with({})
    _refuse_stream(own)
    training_device(own.training)
    _check(own, wanted)
    _claim(folder, own, space)
    study = _study(folder)
    values, outside = _own_values(own, wanted)
    if not study.trials:
        study.enqueue_trial(values, skip_if_exists=True)
    for reason in outside:
        observer(Warned(f"trial 0 is not the recipe itself: {reason}; the trial takes a value of the space"))
    rows = _Rows(data)

    def run(asked: optuna.Trial) -> float:
        chosen = {key: _suggest(asked, key, values) for key, values in space.parameters.items()}
        tried = wanted.recipe_with(chosen)
        began = time.monotonic()
        found = [_metrics(tried, seed, rows) for seed in space.seeds]
        mean = {name: float(np.mean([one[name] for one in found])) for name in space.objective}
        spread = {name: float(np.std([one[name] for one in found])) for name in space.objective}
        value = sum(weight * mean[name] for name, weight in space.objective.items())
        if not math.isfinite(value):
            observer(
                Warned(f"trial {asked.number} is left out: the objective is {value}, with {_yaml(chosen)}")
            )
            raise optuna.TrialPruned("the objective is no number")
        asked.set_user_attr("outcome", [chosen, mean, spread, time.monotonic() - began])
        return value

    def tell(_study: optuna.Study, ended: optuna.trial.FrozenTrial) -> None:
        kept = trials_of(folder)
        for trial in kept:
            if trial.number == ended.number:
                observer(TrialEnded(trial, kept[0]))

    stop = optuna.study.MaxTrialsCallback(trials, states=_ENDED)
    if _ended(study) < trials:
        observer(Advanced("reading the log", 0, None))
        study.optimize(run, callbacks=[tell, stop])
    return trials_of(folder)


def trials_of(folder: Path) -> list[Trial]:
    """The trials that came to their end, the best first."""
    ended = [trial for trial in _study(folder).trials if "outcome" in trial.user_attrs and trial.values]
    kept = [Trial(trial.number, float(trial.value or 0.0), *trial.user_attrs["outcome"]) for trial in ended]
    return sorted(kept, key=lambda trial: -trial.value)


class _Rows:
    """A recipe's encoded log, made again only where a trial changes what it is made of."""

    def __init__(self, data: Path | None) -> None:
        self._data = data
        self._made_of: str | None = None
        self._kept: Material | None = None

    def of(self, recipe: Recipe) -> tuple[Encoder, Material]:
        """The encoder with this recipe's widths, and the rows it encoded."""
        made_of = _without_sizes(recipe.data_schema)
        if self._kept is None or made_of != self._made_of:
            self._kept = material_in_memory(recipe.data_schema, self._data)
            self._made_of = made_of
        return Encoder(recipe.data_schema, self._kept.encoder.features), self._kept


def _without_sizes(schema: Schema) -> str:
    """The schema less what only the network and the loss read."""
    document = schema.model_dump(mode="json")
    for feature in document["features"]:
        feature.pop("width", None)
    for task in document["tasks"]:
        task.pop("weight", None)
    return orjson.dumps(document).decode()


def _metrics(recipe: Recipe, seed: int, rows: _Rows) -> dict[str, float]:
    """Train once: validation metrics by `TASK.METRIC`."""
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"seed": seed})})
    encoder, material = rows.of(recipe)
    weights = [task.weight for task in recipe.data_schema.tasks]
    network = fresh_network(recipe.network, recipe.training, encoder)
    trained = fit(network, FitPlan(recipe.training, weights, material.train, material.validation))
    judged = judge(trained.network, material.validation)
    return {f"{task}.{name}": value for task, found in judged.items() for name, value in found.items()}


def _check(own: Recipe, wanted: Search) -> None:
    """Every key makes a recipe with each of its choices, or all over its range; every metric exists."""
    known = [
        f"{task.name}.{name}"
        for task in own.data_schema.tasks
        for name in (("auc", "gauc", "logloss") if task.type == "binary" else ("mse",))
    ]
    for metric in wanted.space.objective:
        if metric not in known:
            raise FulcrumError(
                f"search space: objective: unknown metric {metric!r}; it is one of {', '.join(known)}"
            )
    for where in ("parameters", "fixed"):
        if "training.seed" in getattr(wanted.space, where):
            raise FulcrumError(
                f"search space: {where}.training.seed: each trial is trained with the space's `seeds`; "
                "name the seeds there"
            )
    for key, values in wanted.space.parameters.items():
        for value in values.choices if isinstance(values, Choices) else _spread(values):
            try:
                _refuse_stream(wanted.recipe_with({key: value}))
            except FulcrumError as error:
                raise FulcrumError(f"search space: parameters.{key}: {error}") from error


def _refuse_stream(recipe: Recipe) -> None:
    if recipe.training.stream is not None:
        raise FulcrumError(
            "search: trials are trained in memory; leave training.stream out, or keep fewer rows"
        )


def _spread(values: Range) -> tuple[int | float, ...]:
    """Both ends, and a broken number between ends that are not both whole."""
    ends = (values.low, values.high)
    return ends if values.whole else (*ends, values.low + 0.618 * (values.high - values.low))


def _claim(folder: Path, own: Recipe, space: SearchSpace) -> None:
    """Trials of one folder are of one recipe and one space."""
    said = {"recipe": own.model_dump(mode="json"), "space": space.model_dump(mode="json")}
    text = orjson.dumps(said, option=orjson.OPT_INDENT_2)
    check_folder(folder, "search folder")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _SPACE
    if not path.exists():
        replace_file(path, text)
    elif path.read_bytes() != text:
        raise FulcrumError(
            f"search folder {folder}: it holds a search of another recipe or space ({path} says which); "
            "name another folder"
        )


def _study(folder: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    backend = journal.JournalFileBackend(str(folder / _JOURNAL))
    return optuna.create_study(
        storage=journal.JournalStorage(backend),
        sampler=optuna.samplers.TPESampler(seed=None, multivariate=True),
        study_name="search",
        direction="maximize",
        load_if_exists=True,
    )


def _ended(study: optuna.Study) -> int:
    return sum(trial.state in _ENDED for trial in study.trials)


def _suggest(asked: optuna.Trial, key: str, values: Range | Choices) -> Any:
    if isinstance(values, Choices):
        # Optuna takes text and numbers; a list goes by its place.
        return values.choices[asked.suggest_categorical(key, list(range(len(values.choices))))]
    if isinstance(values.low, int) and isinstance(values.high, int):
        return asked.suggest_int(key, values.low, values.high, log=values.log)
    return asked.suggest_float(key, values.low, values.high, log=values.log)


def _own_values(own: Recipe, wanted: Search) -> tuple[dict[str, Any], list[str]]:
    """The recipe's own values as Optuna knows them, and in words those that do not lie in the space."""
    document = {
        **own.data_schema.model_dump(mode="json"),
        "network": own.network.model_dump(mode="json"),
        "training": own.training.model_dump(mode="json"),
    }
    found: dict[str, Any] = {}
    outside = []
    for key, values in wanted.space.parameters.items():
        value = _at(document, key.split("."))
        if isinstance(values, Choices):
            # However a choice is spelt, it is the recipe's own if it changes nothing.
            same = (wanted.recipe_with({key: choice}) == own for choice in values.choices)
            place = next((place for place, is_own in enumerate(same) if is_own), None)
            if place is not None:
                found[key] = place
        elif isinstance(value, int | float) and value in values:
            found[key] = value
        if key not in found:
            said = f"is {_yaml(value)} in the recipe" if value is not None else "has no value in the recipe"
            outside.append(f"{key} {said}, and the space has {values}")
    return found, outside


def _at(place: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        if isinstance(place, list):
            place = next((entry for entry in place if entry.get("name") == part), None)
        elif isinstance(place, Mapping):
            place = place.get(part)
        else:
            return None
    return place


def _yaml(value: Any) -> str:
    """JSON is YAML."""
    return orjson.dumps(value).decode()
