"""What `apibank up` says: where everything is, and a first request to copy."""

import sys
from pathlib import Path

from apibank.issuer.mint import mint
from apibank.ports import CENTRAL
from apibank.ready import Ready
from apibank.stack_plan import StackPlan

_EXAMPLE = '{"topic": "AI agents", "tone": "professional", "length": 500, "keywords": ["AI"]}'


def say_starting(plan: StackPlan) -> None:
    """Before anything runs: what will run, and under which overlays."""
    names = ", ".join(name for name in plan.gateways if name != CENTRAL)
    overlays = ", ".join(Path(profile).stem for profile in plan.profiles[:-1]) or "none"
    sys.stdout.write(
        f"apibank: starting central in front of {names or 'nothing'}\n"
        f"policies {_near(plan.policies)} under the profile {overlays}: development keys and loopback addresses, "
        "not for production\n"
    )
    sys.stdout.flush()


def say_ready(plan: StackPlan, ready: Ready, seconds: float) -> None:
    """Everything serves: the addresses, and a first curl with a token in it."""
    state = Path(ready.state_dir)
    claims: dict[str, object] = {
        "sub": "demo",
        "role": "customer",
        "tier": "business",
        "scopes": ["marketing:*"],
    }
    token = mint(state, "customer", claims=claims, expires_in=3600)
    rows = [
        ("central", ready.central.https),
        ("http (redirects)", ready.central.http),
        *([("agents' door", ready.central.internal_https)] if "agents" in ready.gateways else []),
        *((f"{name} service", url) for name, url in ready.upstreams.items()),
        ("developer portal", ready.portal),
        ("API reference", f"{ready.central.https}/api/docs"),
        ("issuers", "  ".join(ready.issuers.values())),
        ("control API", ready.control_api),
        ("xDS", ready.xds),
        ("Envoy admin", ready.central.envoy_admin),
        ("state and logs", str(_near(state))),
    ]
    width = max(len(name) for name, _ in rows) + 2
    lines = [f"\neverything serves, {seconds:.1f} s after the start\n"]
    lines += [f"  {name:<{width}}{value}" for name, value in rows]
    if "marketing" in ready.gateways:
        lines += [
            "\na token of the development issuer, good for an hour:\n",
            f"TOKEN={token}",
            "\nand a first request:\n",
            f"curl --cacert {_near(Path(ready.ca_file))} {ready.central.https}/api/marketing/content \\\n"
            f"  -H \"authorization: Bearer $TOKEN\" -H 'content-type: application/json' \\\n"
            f"  -d '{_EXAMPLE}'",
        ]
    lines.append("\nCtrl-C stops everything\n")
    sys.stdout.write("\n".join(lines))
    sys.stdout.flush()


def _near(path: Path) -> Path:
    # As a person in this folder would write it.
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path
