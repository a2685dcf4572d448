"""RLS: how many requests are left.

`algorithms` decide, `store` counts, `matching` finds the limits that apply, `server` answers.
"""
