"""What proxies report of the requests that they sent on: how many, and how many of them failed (Envoy's LRS)."""
