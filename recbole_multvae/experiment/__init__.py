"""One experiment: its configuration, its data and model, its run in this process or in several."""
