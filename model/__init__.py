"""What training and serving share: schema, encoder, bundle, packed rows, fusion, and the networks."""

import os

# onnxruntime's wheels report usage to their maker unless told not to, before they are first imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
