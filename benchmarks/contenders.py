"""Who trains in the benchmark: Fulcrum, a plain PyTorch loop, and the peers as they are shipped.

Each trains the same network on the same rows by its own loop, its own loader and its own optimizer code (all
Adam of one step size). Peers come from the extra `bench`.

Shapes: N rows, B rows of a batch, F features, T tasks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from model.encoding import EncodedRows
from model.network.config import ExpertCounts
from model.network.embedding import EmbeddingSpec, FieldSpec, SideSpec
from model.network.heads import TaskHead
from model.network.network import build_network
from model.network.trunks.ple import PLEConfig
from training.fitting.loss_weights import task_weights
from training.fitting.memory import keep_freed_memory
from training.fitting.step import Step
from training.fitting.trainer import predict_rows
from training.recipe import Monitor, TrainingConfig
from training.rows.batches import EncodedLog

TASKS = ("vtr", "shr", "cmr", "vcr")  # the last is a regression
RATES = (0.0, -2.0, -1.5)
JUDGED = 4096


@dataclass(frozen=True)
class Problem:
    """What is trained: the same for all."""

    features: int = 24
    """Sparse features of width 16."""
    values: int = 10_000
    """Rows of each feature's table."""
    experts: int = 2
    """Experts of each task, and shared ones, on each of two levels: 5 times as many a level."""
    batch: int = 2048
    rate: float = 1e-3
    """Step size of Adam."""
    rows: int = 200_000
    """Training rows."""
    judged: int = 40_000
    """Further rows, to judge on."""
    seed: int = 1
    """Of initialisation and of the order of rows; the rows themselves are always the same."""
    threads: int = 2


@dataclass(frozen=True)
class Rows:
    """ids int64 [N, F], from 0; labels and what they were drawn from float32 [N, T]."""

    ids: np.ndarray
    labels: np.ndarray
    planted: np.ndarray


def make_rows(problem: Problem) -> tuple[Rows, Rows]:
    """Random ids, and labels that follow a hidden weight of each value: to train on, and to judge on."""
    random = np.random.default_rng(5)
    count = problem.rows + problem.judged
    ids = random.integers(0, problem.values, (count, problem.features))
    labels, planted = np.empty((2, count, len(TASKS)), np.float32)
    for place in range(len(TASKS)):
        weights = random.normal(size=(problem.features, problem.values))
        score = weights[np.arange(problem.features), ids].sum(axis=1) * 3.0 / np.sqrt(problem.features)
        rate = RATES[place] if place < len(RATES) else 0.0
        planted[:, place] = 1.0 / (1.0 + np.exp(-score - rate))
        if place < len(RATES):
            labels[:, place] = random.random(count) < planted[:, place]
        else:
            labels[:, place] = (planted[:, place] + random.normal(0, 0.15, count)).clip(0, 1)
    cut = problem.rows
    return Rows(ids[:cut], labels[:cut], planted[:cut]), Rows(ids[cut:], labels[cut:], planted[cut:])


class Contender(Protocol):
    """One who trains."""

    parameters: int
    """Numbers that are learned, outside the embedding tables."""

    def train(self, steps: int) -> None:
        """Go on for so many batches of the epoch; a new epoch begins where one ends."""

    def predict(self, rows: Rows) -> np.ndarray:
        """[N, T]."""


class Fulcrum:
    """The trainer's own step and batches; `compiled` has torch compile the network's plain equations."""

    def __init__(
        self, problem: Problem, rows: Rows, *, precision: str, updates: str = "dense", compiled: bool = False
    ) -> None:
        keep_freed_memory()
        torch.manual_seed(problem.seed)
        half = problem.features // 2
        sides = [
            SideSpec(
                tuple(
                    FieldSpec(f"f{place}", EmbeddingSpec(f"f{place}", problem.values, 16))
                    for place in range(start, start + half)
                )
            )
            for start in (0, half)
        ]
        heads = [TaskHead(name, "binary") for name in TASKS[:-1]] + [TaskHead(TASKS[-1], "regression")]
        counts = ExpertCounts(shared=problem.experts, task=problem.experts)
        self.network = build_network(PLEConfig(experts=counts), user=sides[0], item=sides[1], tasks=heads)
        config = TrainingConfig.model_validate(
            {
                "batch": problem.batch,
                "learning_rate": problem.rate,
                "precision": precision,
                "embedding_updates": updates,
                "seed": problem.seed,
                "monitor": Monitor(metric="loss", mode="min"),
            }
        )
        self._compiled = compiled
        if compiled:
            self.network.logits = torch.compile(self.network.logits)  # type: ignore[method-assign]
        self.parameters = sum(parameter.numel() for parameter in self.network.trunk.parameters())
        self._problem, self._log = problem, _encoded(rows, half)
        self._step = Step(self.network, config, task_weights(config.loss_weights, [1.0] * 4, heads), 100_000)
        self._batches = self._epochs(torch.Generator().manual_seed(problem.seed))

    def _epochs(self, shuffler: torch.Generator) -> Iterator[Any]:
        while True:
            yield from self._log.epoch(shuffler, self._problem.batch, 0)

    def train(self, steps: int) -> None:  # noqa: D102 (Contender says it)
        self.network.train()
        if self._compiled:
            # What is written out for training is written for torch as it runs uncompiled.
            self.network.trunk.eval()
        for batch in islice(self._batches, steps):
            self._step.take(batch, 1)

    def predict(self, rows: Rows) -> np.ndarray:  # noqa: D102
        return predict_rows(self._step.settled(), _encoded(rows, self._problem.features // 2))


def _encoded(rows: Rows, half: int) -> EncodedLog:
    none = np.zeros((len(rows.ids), 0), np.float32)
    numbers = np.arange(len(rows.ids))
    return EncodedLog(
        EncodedRows(np.ascontiguousarray(rows.ids[:, :half]), none),
        EncodedRows(np.ascontiguousarray(rows.ids[:, half:]), none),
        rows.labels,
        np.ones_like(rows.labels, dtype=bool),
        numbers,
        numbers,
    )


class _Expert(nn.Sequential):
    def __init__(self, inputs: int) -> None:
        super().__init__(nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU())


class _PlainPLE(nn.Module):
    """PLE as one would write it: a module an expert, stacked outputs, gates by einsum."""

    def __init__(self, problem: Problem, *, sparse: bool) -> None:
        super().__init__()
        tasks, own = len(TASKS), problem.experts
        self.tables = nn.ModuleList(
            nn.Embedding(problem.values, 16, sparse=sparse) for _ in range(problem.features)
        )
        for table in self.tables:
            nn.init.normal_(table.weight, std=0.05)
        inputs = [16 * problem.features, 128]
        self.own = nn.ModuleList(
            nn.ModuleList(nn.ModuleList(_Expert(width) for _ in range(own)) for _ in range(tasks))
            for width in inputs
        )
        self.shared = nn.ModuleList(nn.ModuleList(_Expert(width) for _ in range(own)) for width in inputs)
        self.gates = nn.ModuleList(
            nn.ModuleList(nn.Linear(width, 2 * own, bias=False) for _ in range(tasks)) for width in inputs
        )
        self.shared_gate = nn.Linear(inputs[0], (tasks + 1) * own, bias=False)
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1)) for _ in range(tasks)
        )

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = torch.cat([table(ids[:, place]) for place, table in enumerate(self.tables)], dim=1)
        streams, common = [x] * len(self.towers), x
        for level, gates in enumerate(self.gates):
            own = [
                [expert(stream) for expert in experts]
                for experts, stream in zip(self.own[level], streams, strict=True)
            ]
            shared = [expert(common) for expert in self.shared[level]]
            fused = [
                self._fuse(gate(stream), experts + shared)
                for gate, stream, experts in zip(gates, streams, own, strict=True)
            ]
            if level == 0:
                common = self._fuse(
                    self.shared_gate(common), [e for experts in own for e in experts] + shared
                )
            streams = fused
        return torch.cat([tower(stream) for tower, stream in zip(self.towers, streams, strict=True)], dim=1)

    @staticmethod
    def _fuse(scores: torch.Tensor, experts: list[torch.Tensor]) -> torch.Tensor:
        return torch.einsum("be,bew->bw", torch.softmax(scores, dim=-1), torch.stack(experts, dim=1))


class Plain:
    """A plain loop: autocast to bfloat16, sparse gradients of embeddings, fused AdamW for the rest.

    Compiled, gradients are dense, as torch compiles no sparse ones.
    """

    def __init__(self, problem: Problem, rows: Rows, *, autocast: bool, compiled: bool = False) -> None:
        torch.manual_seed(problem.seed)
        self.network = _PlainPLE(problem, sparse=not compiled)
        tables = list(self.network.tables.parameters())
        rest = [p for name, p in self.network.named_parameters() if not name.startswith("tables")]
        self.parameters = sum(parameter.numel() for parameter in rest)
        self._optimizers = [
            torch.optim.Adam(tables, lr=problem.rate, fused=True)
            if compiled
            else torch.optim.SparseAdam(tables, lr=problem.rate),
            torch.optim.AdamW(rest, lr=problem.rate, weight_decay=0.0, fused=True),
        ]
        if compiled:
            self.network.forward = torch.compile(self.network.forward)  # type: ignore[method-assign]
        self._autocast = autocast
        self._ids, self._labels = torch.from_numpy(rows.ids), torch.from_numpy(rows.labels)
        self._batches = self._epochs(problem.batch)

    def _epochs(self, size: int) -> Iterator[torch.Tensor]:
        while True:
            order = torch.randperm(len(self._ids))
            yield from order.split(size)

    def train(self, steps: int) -> None:  # noqa: D102 (Contender says it)
        self.network.train()
        for rows in islice(self._batches, steps):
            labels = self._labels.index_select(0, rows)
            with torch.autocast("cpu", torch.bfloat16, enabled=self._autocast):
                outputs = self.network(self._ids.index_select(0, rows))
            outputs = outputs.float()
            loss = len(RATES) * F.binary_cross_entropy_with_logits(outputs[:, :-1], labels[:, :-1])
            loss = loss + F.mse_loss(torch.sigmoid(outputs[:, -1]), labels[:, -1])
            for optimizer in self._optimizers:
                optimizer.zero_grad()
            loss.backward()
            for optimizer in self._optimizers:
                optimizer.step()

    def predict(self, rows: Rows) -> np.ndarray:  # noqa: D102
        self.network.eval()
        with torch.inference_mode():
            parts = [torch.sigmoid(self.network(ids)) for ids in torch.from_numpy(rows.ids).split(JUDGED)]
        return torch.cat(parts).numpy()


class Rechub:
    """torch-rechub: its PLE, its DataGenerator, its MTLTrainer. Its layers, gates too, have batch norm."""

    def __init__(self, problem: Problem, rows: Rows, *, autocast: bool) -> None:
        from torch_rechub.basic.features import SparseFeature
        from torch_rechub.models.multi_task import PLE
        from torch_rechub.trainers import MTLTrainer
        from torch_rechub.utils.data import DataGenerator

        torch.manual_seed(problem.seed)
        names = [f"f{place}" for place in range(problem.features)]
        types = ["classification"] * len(RATES) + ["regression"]
        self.network = PLE(
            [SparseFeature(name, vocab_size=problem.values, embed_dim=16) for name in names],
            types,
            n_level=2,
            n_expert_specific=problem.experts,
            n_expert_shared=problem.experts,
            expert_params={"dims": [256, 128]},
            tower_params_list=[{"dims": [64]} for _ in TASKS],
        )
        self.parameters = _outside(self.network, "embedding.")
        self._names, self._autocast = names, autocast
        self._trainer = MTLTrainer(
            self.network, types, optimizer_params={"lr": problem.rate}, model_path=os.devnull
        )
        columns = {name: rows.ids[:, place] for place, name in enumerate(names)}
        loader, _, _ = DataGenerator(columns, rows.labels).generate_dataloader(
            x_val=columns, y_val=rows.labels, x_test=columns, y_test=rows.labels, batch_size=problem.batch
        )
        self._batches = self._epochs(loader)

    @staticmethod
    def _epochs(loader: Any) -> Iterator[Any]:
        while True:
            yield from loader

    def train(self, steps: int) -> None:  # noqa: D102 (Contender says it)
        with _silence(), torch.autocast("cpu", torch.bfloat16, enabled=self._autocast):
            self._trainer.train_one_epoch(islice(self._batches, steps))

    def predict(self, rows: Rows) -> np.ndarray:  # noqa: D102
        self.network.eval()
        with torch.inference_mode():
            parts = [
                self.network({name: ids[:, place] for place, name in enumerate(self._names)})
                for ids in torch.from_numpy(rows.ids).split(JUDGED)
            ]
        return torch.cat(parts).numpy()


class DeepCTR:
    """DeepCTR-Torch: its PLE and `fit`. No gate layers and no penalties, so that the network is the same.

    It makes as many shared experts as a task has, whatever it is told, and a shared gate on the last level,
    which learns nothing.
    """

    def __init__(self, problem: Problem, rows: Rows, *, autocast: bool) -> None:
        import requests

        # Its import asks a package index for a newer version, in a thread: not while others are measured.
        requests.get = _refuse
        from deepctr_torch.inputs import SparseFeat
        from deepctr_torch.models.multitask.ple import PLE

        names = [f"f{place}" for place in range(problem.features)]
        self.network = PLE(
            [SparseFeat(name, problem.values, embedding_dim=16) for name in names],
            shared_expert_num=problem.experts,
            specific_expert_num=problem.experts,
            expert_dnn_hidden_units=(256, 128),
            gate_dnn_hidden_units=(),
            tower_dnn_hidden_units=(64,),
            l2_reg_linear=0,
            l2_reg_embedding=0,
            seed=problem.seed,
            task_types=["binary"] * len(RATES) + ["regression"],
            task_names=list(TASKS),
        )
        self.network.compile(
            torch.optim.Adam(self.network.parameters(), lr=problem.rate),
            loss=["binary_crossentropy"] * len(RATES) + ["mse"],
        )
        self.parameters = _outside(self.network, "embedding_dict.", "linear_model.")
        self._names, self._rows, self._problem, self._autocast = names, rows, problem, autocast
        self._next = 0

    def train(self, steps: int) -> None:  # noqa: D102 (Contender says it)
        while steps:
            begin = self._next
            end = min(begin + steps * self._problem.batch, len(self._rows.ids))
            columns = {name: self._rows.ids[begin:end, place] for place, name in enumerate(self._names)}
            with _silence(), torch.autocast("cpu", torch.bfloat16, enabled=self._autocast):
                self.network.fit(
                    columns, self._rows.labels[begin:end], batch_size=self._problem.batch, verbose=0
                )
            steps -= -(-(end - begin) // self._problem.batch)
            self._next = end % len(self._rows.ids)

    def predict(self, rows: Rows) -> np.ndarray:  # noqa: D102
        self.network.eval()
        with torch.inference_mode():
            parts = [self.network(ids) for ids in torch.from_numpy(rows.ids).float().split(JUDGED)]
        return torch.cat(parts).numpy()


class Peak:
    """Nobody: a large bfloat16 product, for what the cores can do at most."""

    SIZE = 2048
    parameters = 0

    def __init__(self, problem: Problem, rows: Rows) -> None:
        del problem, rows
        self._one, self._other = (torch.randn(self.SIZE, self.SIZE, dtype=torch.bfloat16) for _ in range(2))

    def train(self, steps: int) -> None:  # noqa: D102 (Contender says it)
        for _ in range(steps):
            torch.mm(self._one, self._other)


def _outside(network: nn.Module, *tables: str) -> int:
    return sum(p.numel() for name, p in network.named_parameters() if not name.startswith(tables))


def _refuse(*_: Any, **__: Any) -> Any:
    raise OSError("no network in a benchmark")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Peers print; standard output is the answer to the benchmark."""
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


CONTENDERS: dict[str, Any] = {
    "Fulcrum, fp32": lambda p, r: Fulcrum(p, r, precision="fp32"),
    "Fulcrum, bf16": lambda p, r: Fulcrum(p, r, precision="bf16"),
    "Fulcrum, bf16, sparse": lambda p, r: Fulcrum(p, r, precision="bf16", updates="sparse"),
    "plain loop, bf16": lambda p, r: Plain(p, r, autocast=True),
    "plain loop, fp32": lambda p, r: Plain(p, r, autocast=False),
    "torch-rechub, fp32": lambda p, r: Rechub(p, r, autocast=False),
    "torch-rechub, autocast": lambda p, r: Rechub(p, r, autocast=True),
    "DeepCTR-Torch, fp32": lambda p, r: DeepCTR(p, r, autocast=False),
    "DeepCTR-Torch, autocast": lambda p, r: DeepCTR(p, r, autocast=True),
    "GEMM": Peak,
}
COMPILED: dict[str, Any] = {
    "Fulcrum, fp32, compiled": lambda p, r: Fulcrum(p, r, precision="fp32", compiled=True),
    "Fulcrum, bf16, compiled": lambda p, r: Fulcrum(p, r, precision="bf16", compiled=True),
    "plain loop, bf16, compiled": lambda p, r: Plain(p, r, autocast=True, compiled=True),
    "plain loop, fp32, compiled": lambda p, r: Plain(p, r, autocast=False, compiled=True),
}
