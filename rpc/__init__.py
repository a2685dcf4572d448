"""gRPC for the services that Envoy asks about every request (docs/adr/0030)."""
