"""What every proxy shall run, runs and refuses, for whoever operates them (Envoy's CSDS)."""
