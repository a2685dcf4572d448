"""ext_authz: who is calling, and may they.

`pipeline.decide(request, rules, facts, now)` is the whole decision, without I/O and without a clock; everything
else here brings it requests (`wire`, `server`), rules (`rules`), facts (`refresh`, `secret_files`, `partner_keys`)
and a witness (`audit`, `metrics`).
"""
