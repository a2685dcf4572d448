"""Limits through Envoy, counted to their ends: a federation of its own, as every figure here is another."""
