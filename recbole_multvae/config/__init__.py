"""What is known before the data are read: keys, values with their defaults and bounds, shipped files."""
