"""Warm start: a training that goes on from a bundle, with the ids and features that have come since.

The old encoder grows: its ids keep their rows, new ones are added behind them, and numbers are standardised
as they were, since the weights were fitted to that. Weights are found again by feature and by name:

| what | starts from |
| --- | --- |
| an id that the bundle knew | its own row |
| a new id | the row that it was served by: that of unknown, or its bucket's |
| a new feature | weights of zero where it enters the trunk: predictions do not move |
| a feature that is gone | dropped |
| all else | what it was; the optimizer starts afresh |

Knows neither data nor how training goes.

Shapes: V rows of a table, D inputs of the trunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import torch
from torch import Tensor, nn

from model.bundle import WEIGHTS, Bundle, load_bundle
from model.encoding import FIRST_KNOWN, UNKNOWN, Encoder
from model.encoding.key_index import hash_key
from model.errors import FulcrumError
from model.network.config import TrunkConfig
from model.network.network import RankingNetwork
from model.network.trunks import build_trunk
from model.schema import NumericFeature, OrdinalHead, Schema, SequenceFeature, Side
from training.rows.material import Growth
from training.runs.differences import differences

_MAY_CHANGE = {"min_count", "max_size"}
_OF_TRAINING = {"parameters", "dropout", "embedding_dropout", "id_dropout"}
_TABLE, _OTHER = "table/", "network/"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class WarmStart:
    """What a training goes on from.

    Attributes:
        bundle: verified, and fit for the recipe.
        weights: by the names of `kept_weights`.
    """

    bundle: Bundle
    weights: Mapping[str, Floats]

    @property
    def growth(self) -> Growth:
        """What becomes of an encoder that is fitted on the new data."""
        return Growth(self.grow, self.bundle.version)

    def grow(self, fitted: Encoder) -> Encoder:
        """The bundle's encoder with what `fitted` found besides: new ids and new features."""
        document = orjson.loads(fitted.to_json())
        states, old = document["features"], _states(self.bundle.encoder)
        for spec in fitted.schema.features:
            if spec.name not in old:
                continue
            grown = dict(old[spec.name])
            if "vocabulary" in grown:
                known = set(grown["vocabulary"])
                new = [key for key in states[spec.name]["vocabulary"] if key not in known]
                room = getattr(spec, "max_size", None)
                grown["vocabulary"] = [*grown["vocabulary"], *new][: max(room, len(known)) if room else None]
            states[spec.name] = grown
        return Encoder.from_json(fitted.schema, orjson.dumps(document))

    def put(self, network: RankingNetwork, encoder: Encoder, config: TrunkConfig) -> None:
        """Put the bundle's weights in the place of a fresh network's.

        Args:
            network: of the grown encoder.
            encoder: grown.
            config: of the network.

        Raises:
            FulcrumError: the weights are of another network.
        """
        before, after = _states(self.bundle.encoder), _states(encoder)
        tables = {id(parameter): name for name, parameter in _tables(network).items()}
        columns = _columns(_inputs(self.bundle.encoder), _inputs(encoder))
        inputs = _input_axes(network, config)
        with torch.no_grad():
            for name, tensor in _state(network).items():
                table = tables.get(id(tensor))
                if table is not None:
                    if (rows := self.weights.get(_TABLE + table)) is not None:
                        tensor.copy_(_grown_table(rows, before[table], after[table]))
                    continue
                old = self.weights.get(_OTHER + name)
                if old is None and name.startswith("attentions."):
                    continue  # of a new feature
                if old is None:
                    raise self._unfit(f"it has no weights {name}")
                kept = torch.from_numpy(np.array(old))
                if name in inputs:
                    kept = _moved(kept, inputs[name], columns)
                if kept.shape != tensor.shape:
                    raise self._unfit(f"{name} is {list(old.shape)} there and {list(tensor.shape)} here")
                tensor.copy_(kept)

    def news(self, encoder: Encoder) -> list[str]:
        """What is new or gone, for people."""
        before, after = _states(self.bundle.encoder), _states(encoder)
        counts = {
            name: len(state["vocabulary"]) - len(before[name]["vocabulary"])
            for name, state in after.items()
            if name in before and "vocabulary" in state
        }
        told = [f"{name} {count:,}" for name, count in counts.items() if count]
        lines = [f"new ids: {', '.join(told)}"] if told else []
        lines += [f"new feature {name!r}: starts neutral" for name in after if name not in before]
        lines += [f"feature {name!r} is gone" for name in before if name not in after]
        return lines

    def _unfit(self, reason: str) -> FulcrumError:
        return FulcrumError(
            f"cannot start from {self.bundle.path}: its weights do not fit this network: {reason}; "
            "start from no bundle"
        )


def open_bundle(path: Path, schema: Schema, network: TrunkConfig) -> WarmStart:
    """Open a bundle to go on from, with what may be another schema and other dropout.

    Raises:
        FulcrumError: it is damaged, holds no weights, or differs in what cannot change.
    """
    bundle = load_bundle(path)
    if WEIGHTS not in bundle.manifest.files:
        raise FulcrumError(
            f"cannot start from {path}: this bundle has no {WEIGHTS}, since an earlier version made it; "
            "train one that starts from no bundle, and go on from that"
        )
    for reason in _reasons(bundle, schema, network):
        raise FulcrumError(f"cannot start from {path}: {reason}")
    with np.load(path / WEIGHTS, allow_pickle=False) as arrays:
        return WarmStart(bundle, {name: arrays[name] for name in arrays.files})


def kept_weights(network: RankingNetwork) -> dict[str, Floats]:
    """All weights by names that outlive a change of features: tables by feature, the rest as they are."""
    names = {id(parameter): _TABLE + name for name, parameter in _tables(network).items()}
    return {
        names.get(id(tensor), _OTHER + name): tensor.detach().numpy()
        for name, tensor in _state(network).items()
    }


def _reasons(bundle: Bundle, after: Schema, network: TrunkConfig) -> Iterator[str]:
    """Why a bundle cannot be gone on from."""
    before = bundle.schema
    kinds = [
        [(t.name, t.type, getattr(t, "bounds", None), getattr(t, "head", None)) for t in one.tasks]
        for one in (before, after)
    ]
    if kinds[0] != kinds[1]:
        yield (
            f"its tasks are {', '.join(before.task_names)}, the recipe's {', '.join(after.task_names)}; "
            "a warm start keeps tasks, their order, types, bounds and heads"
        )
    lengths = [length.name if (length := one.numeric_length()) else None for one in (before, after)]
    if lengths[0] != lengths[1] and any(isinstance(head, OrdinalHead) for *_, head in kinds[1]):
        yield f"its ordinal heads read the length of {lengths[0]!r}, the recipe's of {lengths[1]!r}"
    old = {spec.name: spec for spec in before.features}
    for spec in after.features:
        if spec.name in old:
            ours, theirs = (
                one.model_dump(mode="json", exclude=_MAY_CHANGE) for one in (spec, old[spec.name])
            )
            for change in differences(theirs, ours, f"features.{spec.name}"):
                yield f"{change}; give the changed feature another name, and it starts neutral"
    settings = network.model_dump(mode="json", exclude=_OF_TRAINING)
    known = {key: value for key, value in bundle.manifest.network.items() if key not in _OF_TRAINING}
    for change in differences(known, settings, "network"):
        yield f"{change}; a warm start keeps the network"


def _states(encoder: Encoder) -> dict[str, dict[str, Any]]:
    features: dict[str, dict[str, Any]] = orjson.loads(encoder.to_json())["features"]
    return features


def _state(network: RankingNetwork) -> dict[str, Tensor]:
    """Parameters and buffers themselves, by name."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


_NETWORK_SIDES: tuple[tuple[Side, ...], ...] = (("user", "context"), ("item",))


def _tables(network: RankingNetwork) -> dict[str, nn.Parameter]:
    """Embedding tables by the feature that owns them."""
    return {name: network.tables.weight(name) for name in network.tables.specs}


def _inputs(encoder: Encoder) -> list[tuple[str, int]]:
    """What the trunk's inputs are, in their order: features and the columns that each takes."""
    columns: list[tuple[str, int]] = []
    attended: list[tuple[str, int]] = []
    for side in _NETWORK_SIDES:
        numbers: list[tuple[str, int]] = []
        for spec in encoder.schema.side(*side):
            if isinstance(spec, NumericFeature):
                numbers.append((spec.name, encoder.features[spec.name].columns))
            else:
                by_candidate = isinstance(spec, SequenceFeature) and spec.pool == "attention"
                place = attended if by_candidate else columns
                place.append((spec.name, encoder.schema.width(spec)))
        columns += numbers
    return columns + attended


def _columns(before: list[tuple[str, int]], after: list[tuple[str, int]]) -> Tensor:
    """Where each of the trunk's inputs stood before, -1 where it is new: [D]."""
    starts: dict[str, int] = {}
    place = 0
    for name, width in before:
        starts[name], place = place, place + width
    return torch.cat(
        [
            torch.arange(width) + starts[name] if name in starts else torch.full((width,), -1)
            for name, width in after
        ]
    )


def _input_axes(network: RankingNetwork, config: TrunkConfig) -> dict[str, int]:
    """Weights that the trunk's inputs meet, and along which axis.

    Found by building the trunk for one input more: what grows along is met by the inputs.
    """
    *others, last = network.parts
    with torch.device("meta"):
        shapes = [
            {
                name: tensor.shape
                for name, tensor in build_trunk(config, fields=(*others, size), tasks=network.heads)
                .state_dict()
                .items()
            }
            for size in (last, last + 1)
        ]
    axes: dict[str, int] = {}
    for name, shape in shapes[0].items():
        grown = [axis for axis, size in enumerate(shapes[1][name]) if size != shape[axis]]
        if grown:
            (axes[f"trunk.{name}"],) = grown
    return axes


def _moved(weights: Tensor, axis: int, columns: Tensor) -> Tensor:
    """The same weights for inputs that stand elsewhere; 0 for those that are new."""
    shape = [-1 if place == axis else 1 for place in range(weights.ndim)]
    known = (columns >= 0).view(shape)
    return torch.where(known, weights.index_select(axis, columns.clamp(min=0)), 0.0)


def _grown_table(rows: Floats, before: Mapping[str, Any], after: Mapping[str, Any]) -> Tensor:
    """A table [V, width] with rows for the ids that are new."""
    old = torch.from_numpy(np.array(rows))
    known = len(before.get("vocabulary", ()))
    new = after.get("vocabulary", ())[known:]
    first_bucket = FIRST_KNOWN + known
    if buckets := before.get("hash_buckets"):
        served_by = torch.tensor([first_bucket + hash_key(key) % buckets for key in new], dtype=torch.int64)
    else:
        served_by = torch.full((len(new),), UNKNOWN)
    return torch.cat([old[:first_bucket], old[served_by], old[first_bucket:]])
