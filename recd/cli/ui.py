"""``recd ui``: a web page that shows what is recorded, live and past; or the same for other viewers."""

from __future__ import annotations

import getpass
import importlib.util
import ipaddress
import socket
from typing import Final

import click

from recd_client.errors import DaemonNotRunningError, OptionError

from . import _foxglove
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
    help=f"Port to listen on. Default: {PORT}, or a free one where that is taken; with --foxglove, {_foxglove.PORT}.",
)
@click.option("--url", is_flag=True, help="Print the address of the page that is served, and end.")
@click.option("--open", "browse", is_flag=True, help="Open it in this machine's browser.")
@click.option(
    "--foxglove", "for_viewers", is_flag=True, help="Serve Foxglove and PlotJuggler instead of browsers."
)
@click.option(
    "--hz", type=click.FloatRange(0.1, 1000), help="Samples per second and topic, at most. Default: 60."
)
@click.option(
    "--time", "clock", type=click.Choice(("wall", "sim")), help="Time of what is sent. Default: wall."
)
@click.option("--encoding", type=click.Choice(("ros2", "json")), help="How numbers are sent. Default: ros2.")
@click.option("--raw", is_flag=True, default=None, help="Send pictures as they are, not as JPEG.")
@click.option("--no-token", is_flag=True, help="With another --host: everybody who reaches it may look.")
@json_option
def command(
    host: str,
    port: int | None,
    url: bool,
    browse: bool,
    for_viewers: bool,
    hz: float | None,
    clock: str | None,
    encoding: str | None,
    raw: bool | None,
    no_token: bool,
    as_json: bool,
) -> int:
    """Serve a web page: live plots and cameras, the state of every stream, and past recordings.

    Whoever holds the address that is printed may look, for it carries a token; and may set marks and stop
    recordings. Looking holds no recording up and takes nothing away. Ends with Ctrl-C.

    With --foxglove, the Foxglove WebSocket protocol is served instead: every stream that is being recorded is
    a topic.
    """
    chosen = {"hz": hz, "clock": clock, "encoding": encoding, "raw": raw}
    if for_viewers:
        if url:
            raise OptionError("--url is not known with --foxglove", "leave out one of them")
        _foxglove.serve(
            host,
            port,
            chosen,
            here=_is_loopback(host),
            open_to_all=no_token,
            as_json=as_json,
            browse=browse,
        )
        return 0
    for name, value in {**chosen, "no_token": no_token or None}.items():
        if value is not None:
            option = {"clock": "time"}.get(name, name).replace("_", "-")
            raise OptionError(f"--{option} is for --foxglove", "add --foxglove, or leave it out")
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
