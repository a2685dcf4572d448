"""The linter of policies, for what is applied."""

from collections.abc import Iterator

from apibank.drafts import Complaint
from policy.lint import Severity, lint
from policy.load import Loaded
from policy.model import Gateway
from policy.problem import written


def complaints_of(loaded: Loaded[Gateway]) -> Iterator[Complaint]:
    """Everything that `apibank policy lint` says of it."""
    for one in lint(loaded.gateway, loaded.positions):
        yield Complaint(
            one.severity is Severity.ERROR,
            {
                "file": one.position.file if one.position else "",
                "line": one.position.line if one.position else 0,
                "column": one.position.column if one.position else 1,
                "path": written(one.path),
                "message": one.message,
                "code": one.code,
                "hint": one.help,
            },
        )
