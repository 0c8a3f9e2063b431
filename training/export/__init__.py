"""Export: a trained network to ONNX, lowered, quantized, into a bundle or not at all."""
