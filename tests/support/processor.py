"""What tests need of the processor that they run on."""

import pytest

from model.processor import multiplies_bytes

exact_bytes = pytest.mark.skipif(
    not multiplies_bytes(),
    reason="this processor adds products of bytes in 16 bits, which overflow: int8 is not made for it",
)
