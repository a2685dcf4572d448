"""What happened: metrics, traces, logs, and the usage that Envoy reports."""
