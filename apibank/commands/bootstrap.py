"""`apibank bootstrap`: how an Envoy on a host of its own starts, for `envoy -c`."""

import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from apibank.output import fail


def bootstrap(
    gateway: Annotated[str, typer.Argument(help="The gateway whose configuration it gets, such as marketing.")],
    control_plane: Annotated[
        list[str], typer.Option(metavar="HOST:PORT", help="Where xDS is served; several times, tried in turn.")
    ],
    certificate: Annotated[Path | None, typer.Option(help="PEM chain of the gateway's identity.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its PEM key.")] = None,
    authority: Annotated[Path | None, typer.Option(help="PEM of who issues the control plane's certificate.")] = None,
    trust_domain: Annotated[str, typer.Option(help="The control plane is spiffe://DOMAIN/control-plane.")] = (
        "waooaw.ai"
    ),
    node: Annotated[
        str | None, typer.Option(help="What `apibank status` calls this Envoy; unset: GATEWAY-HOSTNAME.")
    ] = None,
    admin_port: Annotated[int, typer.Option(min=1, max=65_535, help="Port of its admin, on loopback.")] = 9901,
    metrics_listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where Prometheus on another host gets its figures.")
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(help="Write it to this folder, with what makes Envoy see renewed certificates; unset: print it."),
    ] = None,
    connections: Annotated[int, typer.Option(min=1, help="How many clients may be connected at most.")] = 10_000,
) -> None:
    """Print the bootstrap of an Envoy: where its control plane is and how both prove who they are, no policy.

    With --into it is FOLDER/bootstrap.yaml, and Envoy sees certificates that are renewed in their place.

    Example: apibank bootstrap sales --control-plane 10.0.0.2:18000 --certificate a.pem --key a.key --authority ca.pem
    """
    from apibank.certificates import KeyPair
    from apibank.envoy_process import EnvoyProcess, render_bootstrap
    from apibank.envoy_secrets import ControlPlaneTls, write_secrets
    from apibank.private_files import private_directory, write_private

    for option, place in [("--control-plane", one) for one in control_plane] + [("--metrics-listen", metrics_listen)]:
        if place is not None and not _is_place(place):
            fail(f"error: {option} {place!r} is not HOST:PORT")
    tls = None
    if certificate and key and authority:
        pair = KeyPair(certificate.absolute(), key.absolute())
        tls = ControlPlaneTls(
            pair, authority.absolute(), f"spiffe://{trust_domain}/control-plane", into and into.absolute()
        )
    elif certificate or key or authority:
        fail("error: --certificate, --key and --authority go together")
    elif not all(map(_is_here, control_plane)):
        fail("error: private keys travel by xDS: beyond loopback it needs --certificate, --key and --authority")
    envoy = EnvoyProcess(
        name=gateway,
        node_id=node or f"{gateway}-{socket.gethostname()}",
        node_cluster=gateway,
        admin_port=admin_port,
        control_plane=tuple(control_plane),
        listeners=0,
        binary=Path(),
        tls=tls,
        most_connections=connections,
        metrics=metrics_listen,
    )
    if into is None:
        sys.stdout.write(render_bootstrap(envoy))
        return
    try:
        write_private(private_directory(into) / "bootstrap.yaml", render_bootstrap(envoy).encode())
        if tls is not None:
            write_secrets(tls, into.absolute())
    except OSError as error:
        fail(f"error: --into {into}: {error.strerror}")


def _is_place(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdigit() and 0 < int(port) < 65_536


def _is_here(place: str) -> bool:
    from apibank.ports import LOOPBACK

    return place.rpartition(":")[0] in {LOOPBACK, "[::1]", "localhost"}
