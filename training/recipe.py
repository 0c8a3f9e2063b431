"""Recipe: one YAML that declares a data set, its features and tasks, the network and the training.

Finds recipes by name or by file and applies overrides. Reads no data and builds no network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from model.document import read_document, read_text
from model.errors import FulcrumError, checked
from model.events.catalogue import EventCatalogue
from model.frozen import Frozen
from model.network.config import TrunkConfig
from model.network.trunks import network_config
from model.schema import Schema


class Monitor(Frozen):
    """The validation metric that chooses the best epoch and stops early."""

    metric: str
    """`TASK.METRIC`, such as vtr.auc or vcr.mse, or `loss` for the joint validation loss."""
    mode: Literal["max", "min"]
    """Whether more or less is better."""


class FixedLossWeights(Frozen):
    """Each task weighs its `weight` throughout."""

    kind: Literal["fixed"] = "fixed"


class DecayedLossWeights(Frozen):
    """Each task weighs `weight * ratio^t` (Tang et al., RecSys 2020, section 4.3)."""

    kind: Literal["decayed"]
    ratio: Annotated[dict[str, Annotated[float, Field(gt=0)]], Field(min_length=1)]
    """By task name; a task that is left out keeps its weight."""
    every: Literal["epoch", "step"] = "epoch"
    """What t counts: epochs or steps done before."""


class UncertaintyLossWeights(Frozen):
    """Each task weighs by a noise that is learned with the network (Kendall et al., CVPR 2018).

    With s a task's log variance, which starts at 0, and L its loss, the task's part of the joint loss is
    `weight * (exp(-s) L + s / 2)`, and half of its first term for a regression.
    """

    kind: Literal["uncertainty"]


LossWeights = Annotated[
    FixedLossWeights | DecayedLossWeights | UncertaintyLossWeights, Field(discriminator="kind")
]


class StreamConfig(Frozen):
    """How a log that is larger than memory is read. `true` in its place is all of these defaults."""

    buffer: Annotated[int, Field(ge=1)] = 1 << 18
    """Rows that are shuffled at a time: of as many blocks, from all over the log."""
    block: Annotated[int, Field(ge=1)] = 1 << 10
    """Neighbouring rows that are read together. Fewer mix better, more read faster."""
    chunk: Annotated[int, Field(ge=1)] = 1 << 18
    """Rows that are prepared and encoded at a time."""


class TrainingConfig(Frozen):
    """How the network is trained."""

    epochs: Annotated[int, Field(ge=1)] = 5
    """Passes over the training split, at most."""
    batch: Annotated[int, Field(ge=1)] = 2048
    """Rows a step."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Peak step size of Adam with decoupled weight decay."""
    schedule: Literal["constant", "linear", "cosine", "exponential"] = "constant"
    """All but `constant` fall to a hundredth of the learning rate over all epochs."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of all steps over which the learning rate rises from zero."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled weight decay of the matrices of experts, gates and towers."""
    embedding_weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled weight decay of the embedding tables of categorical features."""
    id_weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled weight decay of the embedding tables of features of kind `id`."""
    gradient_clip: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of the gradient."""
    average: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay a step of an exponential moving average of the weights, which is then what is judged and kept."""
    loss_weights: LossWeights = FixedLossWeights()
    """How the tasks' weights in the joint loss come about from the `weight` of each."""
    seed: int = 7
    patience: Annotated[int, Field(ge=1)] = 2
    """Epochs without improvement before stopping."""
    monitor: Monitor
    embedding_updates: Literal["dense", "sparse"] = "dense"
    """Which rows of embedding tables a step updates: all, or only those it read."""
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    """What the trunk calculates in, in training. `bf16` keeps weights, sums and moments in float32; `auto` is
    that where the processor multiplies bfloat16 by itself, and `fp32` elsewhere."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """What the network is trained on. `cuda` is torch's current GPU, `auto` is that where torch sees one, and
    `cpu` elsewhere."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """CPU threads; the cores this process may use where absent."""
    stream: Annotated[StreamConfig | None, BeforeValidator(lambda value: _settings(value, StreamConfig))] = (
        None
    )
    """Whether the log is streamed from disk in bounded memory, and how."""
    keep: Literal["best", "last"] = "best"
    """Which epoch becomes the bundle: the best by `monitor`, or the last one whatever it says, where the
    validation split is to judge and not to choose. With `last`, nothing stops early."""
    gate: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """By `TASK.METRIC`: by how much a bundle may be worse than the one it is compared with. A task
    that is not named is held to its auc or mse, and to 0."""
    tensorboard: bool = False
    """Whether the run folder gets curves that TensorBoard shows."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 60.0
    """Seconds between checkpoints within an epoch; each epoch ends with one. They change no outcome."""


def _settings(value: Any, config: type[Frozen]) -> Any:
    """`true` is the defaults, `false` is nothing."""
    if isinstance(value, bool):
        return config() if value else None
    return value


class Recipe(Frozen):
    """A whole recipe, checked."""

    data_schema: Schema
    network: Annotated[
        SerializeAsAny[TrunkConfig],
        BeforeValidator(lambda value: network_config(value) if isinstance(value, Mapping) else value),
    ]
    training: TrainingConfig
    events: EventCatalogue | None = None

    @model_validator(mode="after")
    def _context_is_known(self) -> Recipe:
        known = [feature.name for feature in self.data_schema.side("user", "context")]
        for name in (self.events.context or ()) if self.events else ():
            if name not in known:
                raise ValueError(
                    f"events.context: {name!r} is no feature of the user or the context; these are "
                    f"{', '.join(known) or 'none'}"
                )
        return self

    @model_validator(mode="after")
    def _metrics_are_known(self) -> Recipe:
        known = []
        for task in self.data_schema.tasks:
            kinds = ("auc", "logloss") if task.type == "binary" else ("mse",)
            known += [f"{task.name}.{kind}" for kind in kinds]
        monitored = self.training.monitor.metric
        if monitored not in ["loss", *known]:
            raise ValueError(
                f"training.monitor.metric {monitored!r} is unknown; it is one of loss, {', '.join(known)}"
            )
        for metric in self.training.gate:
            if metric not in known:
                raise ValueError(f"training.gate: {metric!r} is unknown; it is one of {', '.join(known)}")
        return self

    @model_validator(mode="after")
    def _loss_weights_name_tasks(self) -> Recipe:
        weights, tasks = self.training.loss_weights, self.data_schema.task_names
        for name in weights.ratio if isinstance(weights, DecayedLossWeights) else ():
            if name not in tasks:
                raise ValueError(
                    f"training.loss_weights.ratio: unknown task {name!r}; the tasks are {', '.join(tasks)}"
                )
        return self

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.data_schema.name


class _Document(Schema):
    """A recipe as its file spells it; which settings a network has depends on the network."""

    network: dict[str, Any]
    training: TrainingConfig
    events: EventCatalogue | None = None


def packaged_recipes() -> list[str]:
    """Names of the recipes that come with Fulcrum."""
    folder = resources.files("training") / "recipes"
    return sorted(
        entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")
    )


def load_recipe(name: str, overrides: Sequence[str] = (), model: str | None = None) -> Recipe:
    """Load a recipe by packaged name or path.

    Args:
        name: `kuairand`, ..., or a YAML file.
        overrides: `dotted.key=value`; an item of a named list is addressed by its name
            (`tasks.vtr.weight=2`), the value is YAML.
        model: the network's name, in place of the recipe's. Where it is another, it keeps the widths and
            rates that all networks have, and takes its defaults else.

    Raises:
        FulcrumError: no such recipe, or what is wrong in it: file, field, expected, found.
    """
    text, source = _text(name)
    try:
        document = read_document(text)
    except FulcrumError as error:
        raise FulcrumError(f"recipe {source}: {error}") from error
    if not isinstance(document, dict):
        raise FulcrumError(f"recipe {source}: expected keys name, data, features, ..., found no mapping")
    if model is not None:
        document["network"] = _of_model(document.get("network"), model)
    for override in overrides:
        apply_override(document, override)
    read = checked(_Document, document, f"recipe {source}")
    schema = Schema(**{name: getattr(read, name) for name in Schema.model_fields})
    try:
        network = network_config(read.network, at="network")
        network.check_tasks(schema.task_names)
    except FulcrumError as error:
        raise FulcrumError(f"recipe {source}: {error}") from error
    except ValueError as error:
        raise FulcrumError(f"recipe {source}: network.{error}") from error
    whole = {"data_schema": schema, "network": network, "training": read.training, "events": read.events}
    return checked(Recipe, whole, f"recipe {source}")


def _of_model(network: Any, model: str) -> dict[str, Any]:
    """A network's settings for another network: the sizes and rates that all have, its own defaults else."""
    settings = network if isinstance(network, dict) else {}
    if settings.get("model", "ple") == model:
        return {**settings, "model": model}
    kept = {key: settings[key] for key in _COMMON if key in settings}
    if isinstance(kept.get("expert"), dict):
        del kept["expert"]  # by stream, and another network has other streams
    return {**kept, "model": model}


_COMMON = ("expert", "tower", "dropout", "embedding_dropout", "id_dropout")


def _text(name: str) -> tuple[str, str]:
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        try:
            return read_text(path), str(path)
        except FulcrumError as error:
            raise FulcrumError(f"recipe {path}: {error}") from error
    if name not in packaged_recipes():
        raise FulcrumError(
            f"no recipe named {name!r}: expected a YAML file or one of {', '.join(packaged_recipes())}"
        )
    return (resources.files("training") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8"), name


def apply_override(document: dict[str, Any], override: str) -> None:
    """Put one override, `KEY=VALUE`, into a document, in place.

    Raises:
        FulcrumError: no key and value, or no such place.
    """
    dotted, equals, text = override.partition("=")
    if not equals or not all(dotted.split(".")):
        raise FulcrumError(f"override {override}: expected dotted.key=value, such as training.epochs=1")
    try:
        value = read_document(text)
    except FulcrumError as error:
        raise FulcrumError(f"override {override}: {error}") from error
    *parents, last = dotted.split(".")
    place: Any = document
    for depth, part in enumerate(parents):
        if isinstance(place, list):
            place = _named(place, part, dotted)
        elif isinstance(place, dict):
            place = place.setdefault(part, {})
        else:
            raise FulcrumError(f"override {dotted}: {'.'.join(parents[:depth])} holds a value, not keys")
    if isinstance(place, list):
        place[place.index(_named(place, last, dotted))] = value
    elif isinstance(place, dict):
        place[last] = value
    else:
        raise FulcrumError(f"override {dotted}: {'.'.join(parents)} holds a value, not keys")


def _named(entries: list[Any], name: str, dotted: str) -> Any:
    for entry in entries:
        if isinstance(entry, dict) and entry.get("name") == name:
            return entry
    names = ", ".join(str(entry.get("name")) for entry in entries if isinstance(entry, dict))
    raise FulcrumError(f"override {dotted}: nothing is named {name!r}; there are {names}")
