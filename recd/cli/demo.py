"""``recd demo``: a built-in simulation, recorded to all formats at once."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from ..paths import lock_path
from ._common import console, lock_holder
from .stop import stop_daemon

_STOP_TIMEOUT_S: Final = 20.0


@click.command(epilog="Example: recd demo /tmp/swarm --seconds 5", short_help="Record a built-in simulation.")
@click.argument("directory", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--seconds",
    "seconds",
    metavar="S",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Length of the simulated time.",
)
def command(directory: Path | None, seconds: float) -> int:
    """Record a swarm of double pendulums to CSV, NPZ, HDF5 and video.

    Needs nothing beyond recd itself. Prints what recording costs the simulation beside the same work
    done inside it, the files, and how to look at them. DIRECTORY is made if need be; without one,
    a new run directory is made under ./recordings. A daemon that was started for it is stopped again.
    """
    from ..demo.run import run_demo

    ran_before = lock_holder(lock_path()) is not None
    try:
        run_demo(directory, seconds=seconds, console=console())
    finally:
        if not ran_before:  # started for the demo alone
            stop_daemon(_STOP_TIMEOUT_S)
    return 0
