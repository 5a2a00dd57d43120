"""Two exported files beside each other on the same histories, before the new one replaces the old one. Without torch."""
