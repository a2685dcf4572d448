"""The checks, one file each: `check_x(case) -> Refusal | None`. Their order is one tuple, in `authz.pipeline`."""
