"""The command lines: training, recommendations by title, and the import of tables."""
