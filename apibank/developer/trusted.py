"""What the policies in force say of issuers."""

from collections.abc import Callable, Mapping

from apibank.ports import CENTRAL
from policy.access import Issuer
from policy.model import Gateway

Policies = Callable[[], Mapping[str, Gateway]]


def trusted_issuer(policies: Mapping[str, Gateway], issuer: str) -> Issuer | None:
    """The issuer by its `iss`, where the central gateway admits anybody by its tokens."""
    central = policies.get(CENTRAL)
    if central is None:
        return None
    admitted = (one for name, one in central.issuers.items() if name in central.callers.tokens)
    return next((one for one in admitted if one.issuer == issuer and not one.break_glass), None)
