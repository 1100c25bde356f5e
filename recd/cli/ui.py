"""``recd ui``: a web page that shows what is recorded, live and past."""

from __future__ import annotations

import getpass
import importlib.util
import ipaddress
import socket
from typing import Final

import click

from recd_client.errors import DaemonNotRunningError, OptionError

from ._common import json_option, print_json

PORT: Final = 8791
_NEEDED: Final = ("aiohttp", "PIL", "orjson")


@click.command(epilog="Example: recd ui", short_help="Serve a web page of what is recorded, live and past.")
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen; 0.0.0.0: reachable from other machines.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help=f"Port to listen on. Default: {PORT}, or a free one where that is taken.",
)
@click.option("--url", is_flag=True, help="Print the address of the page that is served, and end.")
@click.option("--open", "browse", is_flag=True, help="Open it in this machine's browser.")
@json_option
def command(host: str, port: int | None, url: bool, browse: bool, as_json: bool) -> int:
    """Serve a web page: live plots and cameras, the state of every stream, and past recordings.

    Whoever holds the address that is printed may look, for it carries a token; and may set marks and stop
    recordings. Looking holds no recording up and takes nothing away. Ends with Ctrl-C.
    """
    _check_installed()
    from ..ui.guard import user_token
    from ..ui.running import listening, serve, served

    token = user_token()
    running = served()
    if url and running is None:
        raise DaemonNotRunningError("no page is served", "serve it: recd ui")
    if running is not None:
        _say(running.host, running.port, token, already=True, as_json=as_json, short=url, browse=browse)
        return 0
    sock = listening(host, PORT if port is None else port, any_port=port is None)
    at = int(sock.getsockname()[1])
    serve(
        sock,
        host,
        token,
        lambda: _say(host, at, token, already=False, as_json=as_json, short=False, browse=browse),
    )
    return 0


def _check_installed() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise OptionError(
            f"recd ui needs {', '.join(missing)}, which is not installed",
            "install the extra `ui` of recd: pip install 'recd[ui]'",
        )


def _say(
    host: str, port: int, token: str, *, already: bool, as_json: bool, short: bool, browse: bool
) -> None:
    reachable = _reachable(host)
    address = f"http://{reachable}:{port}/?token={token}"
    if as_json:
        print_json({"url": address, "host": host, "port": port, "already": already})
    elif short:
        click.echo(address)
    else:
        click.echo(f"recd ui {'is served already' if already else 'serves'} at  {address}")
        if _is_loopback(host):
            there = f"{getpass.getuser()}@{socket.gethostname()}"
            click.echo(
                f"from another machine:  ssh -N -L {port}:127.0.0.1:{port} {there}  then open that address"
            )
        else:
            click.echo(
                "reachable from other machines, without encryption: use it in a network that you trust"
            )
        if not already:
            click.echo("Ctrl-C ends it; recordings go on.")
    if browse:
        import webbrowser

        webbrowser.open(address)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reachable(host: str) -> str:
    """The host as it stands in an address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return socket.gethostname()
    return f"[{host}]" if address.version == 6 else host
