"""Traced requests: what gateways told of them by OTLP, span by span."""
