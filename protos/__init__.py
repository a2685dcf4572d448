"""Trimmed, wire-compatible messages of the services that Envoy calls often, and their generated modules.

Each `.proto` keeps Envoy's package line and field numbers, so that Envoy and any gRPC client see the full
services; `make protos` regenerates the modules. Only `*.wire` and `*.server` import them.
"""
