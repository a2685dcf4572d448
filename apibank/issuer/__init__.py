"""The development stack's token issuers, in the names of the real ones: OAuth 2.0 with everything but passwords.

It asks nobody to prove who they are, so it serves on loopback only. Real deployments use a real issuer; what the
gateways check of its tokens is the same.
"""
