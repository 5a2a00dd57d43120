"""Several models under one protocol: one run a model and a seed, each in a process of its own, and a report of all."""
