"""Benchmarks: each is one command, bounded in time, and prints its set-up beside its figures."""
