"""The trunk: what stands between a network's input and its tasks' outputs, and what networks differ in.

One file in `trunks/` is one trunk with its config; this module says what they have in common. Knows nothing
about features or embeddings.

Shapes: B rows, D width of the input x, T tasks, C output columns of all tasks, A auxiliary columns.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from model.network.config import TrunkConfig
from model.network.heads import TaskHead
from model.network.losses import joint_loss


@dataclass(frozen=True)
class NamedGate:
    """A gate of a trunk and what it chooses among, for analyses."""

    level: int
    """Counted from 1, the lowest."""
    reader: str
    """The task that reads the mixture, `shared` for the stream of all tasks, `all` for a gate that every task
    reads, `expert 2` for that expert of the next level."""
    experts: tuple[str, ...]
    """Names of the experts it weighs, in the order of its weights, as `NamedExpert.name` has them."""
    gate: nn.Module
    """In evaluation its `forward` gives weights [B, experts], each row a distribution."""


@dataclass(frozen=True)
class NamedExpert:
    """An expert of a trunk, for analyses."""

    level: int
    """Counted from 1, the lowest."""
    name: str
    """Such as `vtr 1` for a task's own first expert, `shared 2` or `expert 3`."""
    expert: nn.Module
    """In evaluation its `forward` gives its output [B, W], after the last ReLU."""


class Trunk(nn.Module, ABC):
    """x [B, D] -> an output [B, columns] for each task, in the order of `tasks`, then any auxiliary ones.

    A subclass names its config, `class MMoE(Trunk, config=MMoEConfig)`, and takes three arguments:

        config: its own.
        fields: widths of the features that stand side by side in x, which sum to D.
        tasks: the heads of the tasks; each asks for `head.columns` outputs.

    Rows are independent in `forward`, and in evaluation it is what the exported graph holds.
    """

    known: ClassVar[dict[str, type["Trunk"]]] = {}
    """All trunks by their `model`."""
    config: ClassVar[type[TrunkConfig]]
    """The config of this trunk."""
    auxiliary: int = 0
    """Output columns that only the loss reads, after the tasks'."""

    def __init_subclass__(cls, *, config: type[TrunkConfig], **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.config = config
        Trunk.known[config.model_fields["model"].default] = cls

    @abstractmethod
    def __init__(self, config: Any, *, fields: Sequence[int], tasks: Sequence[TaskHead]) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, x: Tensor) -> list[Tensor]:
        """Outputs of the towers, [B, columns] each."""

    def loss(
        self, outputs: Tensor, labels: Tensor, mask: Tensor, heads: Sequence[TaskHead], weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The joint loss that this trunk is trained by: `losses.joint_loss`, unless a trunk says otherwise.

        Args:
            outputs: [B, C + A], of `forward`, the base rates added.
            labels, mask, heads, weights: as `joint_loss` takes them.

        Returns:
            The total, a scalar, and the losses per task [T].
        """
        return joint_loss(outputs, labels, mask, heads, weights)

    def gates(self) -> list[NamedGate]:
        """Its gates, lowest level first."""
        return []

    def experts(self) -> list[NamedExpert]:
        """Its experts, lowest level first."""
        return []
