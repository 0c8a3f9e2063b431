"""The device that a network is trained on: which it is, how exactly it multiplies, and its random numbers.

Knows nothing of networks: what is trained is put there once, and everything in a step follows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from model.errors import FulcrumError
from training.recipe import TrainingConfig


def training_device(config: TrainingConfig) -> torch.device:
    """Where a recipe is trained on this machine.

    Raises:
        FulcrumError: it asks for a GPU and there is none.
    """
    if config.device == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if config.device == "auto":
        return torch.device("cpu")
    reason = "this torch is built without CUDA" if torch.version.cuda is None else "torch sees no GPU"
    raise FulcrumError(
        f"training.device: cuda was asked for, but {reason} (torch {torch.__version__}); "
        "set training.device=cpu or auto, or install a torch that is built for the machine's GPU"
    )


def device_name(device: torch.device) -> str:
    """`cpu`, or which GPU it is: weights differ from one to the other."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def multiply_exactly() -> None:
    """Let float32 products be of float32, not TF32, and sums of bfloat16 products be in float32."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Of the global generators that a training draws from."""
    state = {"random": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda_random"] = torch.cuda.get_rng_state(device)
    return state


def return_to_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Let the generators go on from a state, as far as it has one of this device."""
    torch.set_rng_state(state["random"])
    if device.type == "cuda" and "cuda_random" in state:
        torch.cuda.set_rng_state(state["cuda_random"], device)
