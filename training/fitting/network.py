"""A network before its first step: its shapes from the encoder, its weights from the seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch

from model.cores import available_cores
from model.encoding import CategoricalEncoder, Encoder, ListEncoder
from model.network.config import TrunkConfig
from model.network.embedding import EmbeddingSpec, FieldSpec, SideSpec
from model.network.heads import TaskHead
from model.network.network import RankingNetwork, build_network
from model.network.thresholds import Ordinal
from model.schema import (
    CategoricalFeature,
    EmbeddedFeature,
    MultiFeature,
    OrdinalHead,
    RegressionTask,
    SequenceFeature,
    Side,
    TaskSpec,
)
from training.fitting.device import multiply_exactly, training_device
from training.fitting.memory import keep_freed_memory
from training.recipe import TrainingConfig


def fresh_network(network: TrunkConfig, training: TrainingConfig, encoder: Encoder) -> RankingNetwork:
    """A network before its first step, on its device, in a process with its seed and threads.

    Raises:
        FulcrumError: the training asks for a device that is not there.
    """
    user, item = side_spec(encoder, "user", "context"), side_spec(encoder, "item")
    return seeded_network(network, training, user, item, task_heads(encoder))


def seeded_network(
    network: TrunkConfig, training: TrainingConfig, user: SideSpec, item: SideSpec, heads: Sequence[TaskHead]
) -> RankingNetwork:
    """The same from the shapes of its inputs and its heads.

    Raises:
        FulcrumError: the training asks for a device that is not there.
    """
    device = training_device(training)
    torch.manual_seed(training.seed)
    torch.set_num_threads(training.threads or available_cores())
    keep_freed_memory()
    multiply_exactly()
    # Drawn on the CPU, so that a network begins the same wherever it is trained.
    return build_network(network, user=user, item=item, tasks=heads).to(device)


def side_spec(encoder: Encoder, *sides: Side) -> SideSpec:
    """The shape of these sides' encoded features, side by side, for the network's input layer."""
    fields = tuple(
        _field(encoder, spec) for spec in encoder.schema.side(*sides) if isinstance(spec, EmbeddedFeature)
    )
    return SideSpec(fields, sum(encoder.sides[side].numeric_columns for side in sides))


def _field(encoder: Encoder, spec: EmbeddedFeature) -> FieldSpec:
    feature = cast(CategoricalEncoder | ListEncoder, encoder.features[spec.name])
    schema = encoder.schema
    owner = schema.owner(spec)
    table = EmbeddingSpec(owner.name, feature.vocabulary.cardinality, schema.width(spec), _is_entity(owner))
    if isinstance(spec, MultiFeature):
        return FieldSpec(spec.name, table, spec.max_values, spec.pool)
    if isinstance(spec, SequenceFeature):
        query = owner.name if spec.pool == "attention" else None
        return FieldSpec(spec.name, table, spec.max_values, spec.pool, query, spec.heads)
    return FieldSpec(spec.name, table)


def _is_entity(spec: EmbeddedFeature) -> bool:
    """Whether the values of a feature's table name entities."""
    return isinstance(spec, CategoricalFeature) and spec.kind == "id"


def task_heads(encoder: Encoder) -> list[TaskHead]:
    """The network's view of the tasks."""
    return [_head(task, encoder) for task in encoder.schema.tasks]


def _head(task: TaskSpec, encoder: Encoder) -> TaskHead:
    if not isinstance(task, RegressionTask):
        return TaskHead(task.name, "binary", space=task.where)
    ordinal = None
    length = encoder.schema.numeric_length()
    if isinstance(task.head, OrdinalHead) and length is not None:
        place = encoder.sides["item"].numeric_place[length.name].start
        ordinal = Ordinal(task.head.thresholds, task.head.length_bins, place)
    return TaskHead(task.name, "regression", task.bounds, space=task.where, ordinal=ordinal)
