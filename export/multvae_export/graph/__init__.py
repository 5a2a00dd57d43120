"""The whole graph of a file: its inputs and outputs, its nodes from one to the other, and the file itself."""
