"""The proof that a written file gives the answers of the model."""
