"""``recd ui --foxglove``: the same data for other people's viewers."""

from __future__ import annotations

import getpass
import importlib.util
import socket
from typing import TYPE_CHECKING, Any, Final

import click

from recd_client.errors import MissingLibraryError, OptionError

from ._common import print_json

if TYPE_CHECKING:
    from ..foxglove.server import Server

#: Where viewers look for it by default.
PORT: Final = 8765
_NEEDED: Final = ("foxglove", "PIL", "orjson")


def serve(
    host: str,
    port: int | None,
    chosen: dict[str, Any],
    *,
    here: bool,
    open_to_all: bool,
    as_json: bool,
    browse: bool,
) -> None:
    """Serve until Ctrl-C.

    Parameters
    ----------
    host : str
    port : int, optional
    chosen : dict
        See :class:`recd.foxglove.options.Options`; None: its default.
    here : bool
        Only this machine can reach the host.
    open_to_all : bool
        Others may, without a token: the protocol has none.

    Raises
    ------
    MissingLibraryError
        The extra is not installed.
    OptionError
        Others could look at everything.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingLibraryError(
            f"recd ui --foxglove needs {', '.join(missing)}, which is not installed",
            "install the extra `foxglove` of recd: pip install 'recd[foxglove]'",
        )
    port = PORT if port is None else port
    if not here and not open_to_all:
        raise OptionError(
            f"--host {host}: whoever reaches that address could look, for this protocol has no token",
            f"from another machine, use ssh: ssh -N -L {port}:127.0.0.1:{port} {_there()}, then connect to "
            f"ws://localhost:{port}; or add --no-token, in a network where everybody may look",
        )
    from ..foxglove.options import Options
    from ..foxglove.running import serve

    options = Options(**{name: value for name, value in chosen.items() if value is not None})
    serve(host, port, options, lambda server: _say(server, host, here, as_json, browse))


def _say(server: Server, host: str, here: bool, as_json: bool, browse: bool) -> None:
    name = f"[{host}]" if ":" in host else host
    name = socket.gethostname() if host in ("0.0.0.0", "::") else name
    address = f"ws://{name}:{server.port}"
    if as_json:
        print_json({"url": address, "host": host, "port": server.port, "app": server.app_url()})
    else:
        click.echo(f"recd ui serves the Foxglove protocol at  {address}")
        click.echo(f"in Foxglove: Open connection, then that address; or  {server.app_url()}")
        if here:
            port = server.port
            click.echo(f"from another machine:  ssh -N -L {port}:127.0.0.1:{port} {_there()}")
        else:
            click.echo("whoever reaches that address can look: this protocol has no token and no encryption")
        click.echo("Ctrl-C ends it; recordings go on.")
    if browse:
        import webbrowser

        webbrowser.open(server.app_url())


def _there() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"
