"""What is left of the limits, asked of the gateways' own processes and charged to nobody (docs/adr/0033)."""
