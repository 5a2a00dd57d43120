"""One experiment: make its configuration, prepare data and model, and run it in this process or in several."""
