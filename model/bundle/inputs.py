"""Inputs: one call of the network, as arrays by the graph's input names. Knows no onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.encoding import EncodedRows

INPUTS = ("user_ids", "user_numeric", "item_ids", "item_numeric", "row_to_user")
"""The graph's inputs. An input whose side has no such columns is left out of the graph."""


@dataclass(frozen=True)
class NetworkInputs:
    """One call of the network: R user rows, N candidates, and the user row of each candidate.

    Attributes:
        user: user and context columns, [R, ...].
        item: item columns, [N, ...].
        row_to_user: int64 [N], values below R.
    """

    user: EncodedRows
    item: EncodedRows
    row_to_user: npt.NDArray[np.int64]

    def arrays(self) -> dict[str, npt.NDArray[np.int64] | npt.NDArray[np.float32]]:
        """By the graph's input names; ids that training keeps in fewer bytes are widened."""
        return {
            "user_ids": self.user.ids.astype(np.int64, copy=False),
            "user_numeric": self.user.numeric,
            "item_ids": self.item.ids.astype(np.int64, copy=False),
            "item_numeric": self.item.numeric,
            "row_to_user": self.row_to_user,
        }

    def rows(self, start: int, stop: int) -> NetworkInputs:
        """Candidates `start` to `stop` with all user rows."""
        part = slice(start, stop)
        return NetworkInputs(self.user, self.item.take(part), self.row_to_user[part])
