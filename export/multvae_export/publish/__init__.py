"""Writing what is complete: a file, or a version in a model repository of Triton."""
