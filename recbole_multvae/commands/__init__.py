"""The commands: training, and recommendations by title."""
