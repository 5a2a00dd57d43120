"""How long exported files take for a request."""
