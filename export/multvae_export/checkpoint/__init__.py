"""A checkpoint as plain values that are checked, and the data set that it was trained on."""
