"""Publishing an export that is complete: as a file, or as a version in a model repository of Triton."""
