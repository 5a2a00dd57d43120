"""Configuration keys, their values with defaults and bounds, the values that depend on the data, and shipped files."""
