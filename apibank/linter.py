"""The linter of policies, for what is applied."""

from collections.abc import Iterator

from apibank.drafts import Complaint
from policy.lint import Severity, diagnostic_of, lint
from policy.load import Loaded
from policy.model import Gateway


def complaints_of(loaded: Loaded[Gateway]) -> Iterator[Complaint]:
    """Everything that `apibank policy lint` says of it."""
    for one in lint(loaded.gateway, loaded.positions):
        diagnostic = diagnostic_of(one, loaded.positions)
        yield Complaint(one.severity is Severity.ERROR, dict(diagnostic.as_record()))
