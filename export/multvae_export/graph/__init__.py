"""The ONNX graph: its nodes in the text form of ONNX, and the constants that they read."""
