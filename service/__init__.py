"""The HTTP service: candidates in, ranked candidates out. `ranker.py` is the life of a request."""

import model  # noqa: F401 - before onnxruntime, whose environment it sets
