"""`model`: a small ONNX network from predictions and length to the score, monotone in every prediction.

The config names the network's file by its checksum; another scene, a `log_power`, ranks where it fails. Who
runs it gives a `Scorer`: this package runs nothing. Shapes: N candidates, K inputs.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from model.fusion.conditions import LENGTH
from model.fusion.errors import FusionError
from model.fusion.lengths import Floats, LengthKind
from model.fusion.names import Name
from model.fusion.noise import Explore
from model.fusion.scene import SceneConfig, Terms

MAX_MODEL_BYTES = 8 << 20


class Scorer(Protocol):
    """A network that is ready to run."""

    def __call__(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores [N] of inputs [N, K], a column for each of the scene's `inputs`.

        Raises:
            FusionError: it failed, took too long, or gave a score that is no number.
        """


class LearnedFormula(SceneConfig):
    """A learned score."""

    formula: Literal["model"] = "model"
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]
    """The network, beside the config: a name without folders."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the file's bytes, so that the config's version names the network, too."""
    inputs: Annotated[tuple[Name, ...], Field(min_length=1, max_length=64)]
    """Columns of the network's input, in their order: tasks, and `video_len_s` if it takes the length."""
    fallback: Name
    """The scene that ranks where the network fails or there is no time for it: a `log_power`."""

    @field_validator("inputs")
    @classmethod
    def _once(cls, inputs: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(inputs)) < len(inputs):
            raise ValueError("an input stands twice; expected each once")
        if set(inputs) <= {LENGTH}:
            raise ValueError("no task among the inputs; expected one or more")
        return inputs

    @field_validator("explore")
    @classmethod
    def _no_weights(cls, explore: Explore | None) -> Explore | None:
        if explore is not None:
            raise ValueError("a learned formula has no weights to explore; leave it out")
        return explore

    @field_validator("video_len")
    @classmethod
    def _no_factor(cls, video_len: LengthKind) -> LengthKind:
        if video_len.kind != "none":
            raise ValueError(f"a learned formula takes the length as an input, {LENGTH}; leave it out here")
        return video_len

    @property
    def tasks(self) -> Sequence[str]:
        """Tasks among the inputs."""
        return [name for name in self.inputs if name != LENGTH]

    @property
    def weights(self) -> dict[str, float]:  # noqa: D102 (the class above says it)
        return dict.fromkeys(self.tasks, 1.0)

    def terms(  # noqa: D102
        self, p: Mapping[str, Floats], video_len_s: Floats, lists: NDArray[np.int64] | None
    ) -> Terms:
        del p, video_len_s, lists
        raise FusionError("a learned formula is scored by its network, not by terms")

    def columns(self, p: Mapping[str, NDArray[np.floating]], video_len_s: Floats) -> NDArray[np.float32]:
        """Inputs of the network [N, K]."""
        return np.stack([video_len_s if name == LENGTH else p[name] for name in self.inputs], axis=1).astype(
            np.float32
        )
