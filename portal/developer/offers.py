"""What a person may give a key, by the policies in force: never more than the person has."""

from collections.abc import Mapping
from typing import Final

from policy.kinds import Action
from policy.model import Access, Gateway
from portal.developer.person import Person

_ACTIONS: Final = (Action.READ, Action.WRITE)


def offered(gateways: Mapping[str, Gateway], person: Person) -> tuple[str, ...]:
    """`marketing:read` and the like, where some route takes partners' keys, and the person may do the same."""
    found: dict[str, None] = {}
    for gateway in gateways.values():
        for route in gateway.routes.values():
            namespace = gateway.scopes_of(route)
            if namespace is None or route.access is Access.PUBLIC or not gateway.callers_of(route).partners:
                continue
            actions = set(gateway.methods_of(route).values())
            found |= {
                f"{namespace}:{action.value}": None
                for action in _ACTIONS
                if action in actions and person.may(namespace, action.value)
            }
    return tuple(found)


def of_partner(partner: str, scopes: tuple[str, ...]) -> tuple[str, ...]:
    """The same as scopes of a partner's key (R97)."""
    return tuple(f"partner:{partner}:{scope}" for scope in scopes)
