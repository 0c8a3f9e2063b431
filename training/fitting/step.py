"""One step: a batch in, forward, loss, backward, and the optimizer's move.

Holds all that a step changes, so that its state is whole. Knows nothing about epochs, validation or files.

Shapes: B rows of a batch, T tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from model.network.network import RankingNetwork
from training.fitting.loss_weights import TaskWeights
from training.fitting.optimizer import Average, adamw, rate_share, row_adamw
from training.recipe import TrainingConfig
from training.rows.batches import Batch


def precision(config: TrainingConfig, device: torch.device) -> torch.dtype:
    """What the trunk calculates in on this device of this machine."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    wanted = ("bf16" if fast else "fp32") if config.precision == "auto" else config.precision
    return torch.bfloat16 if wanted == "bf16" else torch.float32


class Step:
    """Takes steps, and counts them.

    Args:
        network: trained in place, where it lies.
        config: how to train.
        weights: of the tasks in the joint loss, on the network's device.
        steps: of the whole training, over which the learning rate's schedule runs.
    """

    def __init__(
        self, network: RankingNetwork, config: TrainingConfig, weights: TaskWeights, steps: int
    ) -> None:
        self._network = network
        self._config = config
        self._weights = weights
        dense = config.embedding_updates == "dense"
        self._optimizer = adamw(network, weights, config, tables=dense)
        average = config.average
        self._average = Average(network, average, tables=dense) if average is not None else None
        self._rows = None if dense else row_adamw(network, self._average, config, steps)
        self._precision = precision(config, network.base.device)
        self._steps = steps
        self._done = 0

    def settled(self) -> RankingNetwork:
        """The network to judge and keep, the average where there is one, with all its rows up to date."""
        if self._rows is not None:
            self._rows.catch_up()
        return self._average.network if self._average is not None else self._network

    def finish(self) -> None:
        """Leave the network as it was found, with its new weights."""
        if self._rows is not None:
            self._rows.release()

    def last_weights(self, epoch: int) -> Tensor:
        """What each task weighed in the last step, [T]."""
        return self._weights.at(epoch, self._done - 1)

    def take(self, batch: Batch, epoch: int) -> tuple[Tensor, Tensor]:
        """Learn from a batch that lies by the network: the joint loss, and each task's unweighted, [T]."""
        outputs = self._network.logits(*batch.inputs, precision=self._precision)
        weights = self._weights.at(epoch, self._done)
        loss, per_task = self._network.loss(outputs, batch.labels, batch.masks, weights)
        penalty = self._weights.penalty(batch.masks.any(dim=0))
        if penalty is not None:
            loss = loss + penalty
        self._descend(loss)
        return loss.detach(), per_task.detach()

    def _descend(self, loss: Tensor) -> None:
        config = self._config
        for group in self._optimizer.param_groups:
            group["lr"] = config.learning_rate * rate_share(config, self._done, self._steps)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        rows = self._rows.gather() if self._rows is not None else []
        if config.gradient_clip is not None:
            self._clip(config.gradient_clip, rows)
        self._optimizer.step()
        if self._rows is not None:
            self._rows.step()
        if self._average is not None:
            self._average.follow()
        self._done += 1

    def _clip(self, largest: float, rows: list[Tensor]) -> None:
        """Scale the network's gradients, those of the rows among them, down to a norm."""
        gradients = [parameter.grad for parameter in self._network.parameters() if parameter.grad is not None]
        gradients += rows
        norm = nn.utils.get_total_norm(gradients)
        torch._foreach_mul_(gradients, torch.clamp(largest / (norm + 1e-6), max=1.0))

    def state(self) -> dict[str, Any]:
        """Tensors and plain values, for `restore`. It shares the training's memory."""
        return {
            "step": self._done,
            "network": self._network.state_dict(),
            "loss_weights": self._weights.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": self._average.state() if self._average is not None else None,
            "table_rows": self._rows.state_dict() if self._rows is not None else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to where a state was taken."""
        self._done = state["step"]
        self._network.load_state_dict(state["network"])
        self._weights.load_state_dict(state["loss_weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._average is not None:
            self._average.restore(state["average"])
        if self._rows is not None:
            self._rows.load_state_dict(state["table_rows"])
