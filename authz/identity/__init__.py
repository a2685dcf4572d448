"""Credentials: which one a request presents, and whose it is. No I/O, no clock; every failure is a value."""
