"""The overlay that the embedded stack writes for itself: the addresses, ports and files that it has chosen.

It is an ordinary overlay (docs/adr/0006), the last one applied, so that every process of the stack reads the same
policies from files and `apibank policy` can show them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml

from apibank.certificates import DevelopmentCertificates
from apibank.issuer.realms import JWKS_PATH
from apibank.ports import CENTRAL, LOOPBACK, PortPlan
from policy.model import Gateway

OVERLAY_NAME: Final = "addresses.yaml"

# A part of an overlay: maps of maps, down to the values that replace the policy's own.
Part = dict[str, object]


def address_overlay(
    gateways: Mapping[str, Gateway],
    plan: PortPlan,
    certificates: DevelopmentCertificates,
    state_dir: Path,
) -> str:
    """The overlay's text, for the gateways of one stack."""
    parts = {name: _gateway(gateway, plan, certificates, state_dir) for name, gateway in gateways.items()}
    return yaml.safe_dump(
        {
            "profile": "addresses",
            "description": "Written by `apibank up`: what this stack has chosen. Edits are lost.",
            # A listener that an SRE takes out of a file must not come back because we know an address for it.
            "only_existing": True,
            "gateways": parts,
        },
        sort_keys=False,
    )


def _gateway(gateway: Gateway, plan: PortPlan, certificates: DevelopmentCertificates, state_dir: Path) -> Part:
    ports = plan.gateways[gateway.gateway]
    part: Part = {
        "certificates": {name: _key_pair(name, gateway.gateway, certificates) for name in gateway.certificates},
        "authorities": {name: {"ca_file": str(certificates.ca_file)} for name in gateway.authorities},
        "services": {
            "authz": {"endpoint": f"{LOOPBACK}:{ports.authz}"},
            "ratelimit": {"endpoint": f"{LOOPBACK}:{ports.ratelimit}"},
            # Not where a policy has none: `only_existing`.
            "telemetry": {"endpoint": f"{LOOPBACK}:{plan.telemetry}"},
        },
        "listeners": {name: _listener(name, gateway.gateway, plan) for name in gateway.listeners},
        "upstreams": {
            name: {"endpoints": endpoints}
            for name in gateway.upstreams
            if (endpoints := _endpoints(name, gateway.gateway, plan)) is not None
        },
    }
    if gateway.issuers:
        doors = {"customer": plan.issuer_customer, "admin": plan.issuer_admin}
        part["issuers"] = {
            name: {"jwks": {"url": f"http://{LOOPBACK}:{doors[name]}{JWKS_PATH}"}}
            for name in gateway.issuers
            if name in doors
        }
    if gateway.agents is not None:
        part["agents"] = {"secrets_directory": str(secrets_directory(state_dir))}
    return part


def secrets_directory(state_dir: Path) -> Path:
    """Where the agents' development secrets are, one file per agent."""
    return state_dir.resolve() / "secrets" / "agents"


def _key_pair(name: str, gateway: str, certificates: DevelopmentCertificates) -> Part:
    pair = certificates.public if name == "public" else certificates.mesh[gateway]
    return {"chain_file": str(pair.chain_file), "key_file": str(pair.key_file)}


def _listener(name: str, gateway: str, plan: PortPlan) -> Part:
    if gateway != CENTRAL:
        return {"address": f"{LOOPBACK}:{plan.gateways[gateway].mesh}"}
    doors = {"https": plan.https, "http": plan.http, "internal_https": plan.internal_https}
    part: Part = {"address": f"{LOOPBACK}:{doors[name]}"}
    if name == "http":
        part["redirect_to_https_port"] = plan.https
    return part


def _endpoints(name: str, gateway: str, plan: PortPlan) -> list[str] | None:
    """None: the stack runs no such service, and what the policy says of it stands."""
    if gateway != CENTRAL:
        return [f"{LOOPBACK}:{plan.gateways[gateway].upstream}"]
    if name == "auth":
        return [f"{LOOPBACK}:{plan.issuer_customer}"]
    if name == "portal":
        return [f"{LOOPBACK}:{plan.portal}"]
    if not name.endswith("-gateway"):
        return None
    # A gateway that this stack does not run: the route is there and answers 503.
    behind = plan.gateways.get(name.removesuffix("-gateway"))
    return [] if behind is None else [f"{LOOPBACK}:{behind.mesh}"]
