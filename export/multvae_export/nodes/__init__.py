"""The parts of a graph: nodes in the text form of ONNX, together with the constants that they read."""
