"""Business rules, one file a type: `XCheck.of(rule)` once when a policy is loaded, `check(given)` for each request.

They are pure, and say where and which rule a request breaks, never what they found there.
"""
