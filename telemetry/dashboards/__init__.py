"""Dashboards for Grafana, made from short descriptions; `python -m telemetry.dashboards` writes their files."""
