"""What operators write: one file per gateway, read, checked and understood before anything uses it.

The kernel of the project: it imports nothing of ours, does no I/O and reads no clock.
"""
