"""``recd cut``: a stretch of a recording, as a recording of its own."""

from __future__ import annotations

from pathlib import Path

import click

from ._common import json_option
from ._making import command_line, names, print_made, progress


@click.command(
    epilog="Example: recd cut recordings/walk/20261122T134005 fall --from 12.5 --to 14",
    short_help="Cut a stretch out of a recording.",
)
@click.argument("src", type=click.Path(path_type=Path))
@click.argument("dst", type=click.Path(path_type=Path))
@click.option("--from", "start", metavar="T", help="From this time on; default: all before --to.")
@click.option("--to", "stop", metavar="T", help="Up to this time, which is not in it; default: all there is.")
@click.option("--episodes", metavar="LIST", help="Only these, as in 0,3-7.")
@click.option("--streams", metavar="NAMES", help="Only these, separated by commas.")
@click.option(
    "--clock",
    type=click.Choice(["sim", "wall"]),
    default="sim",
    show_default=True,
    help="Times are seconds of stream time; or on the wall: Unix seconds, or 2026-11-23T10:30:05.5.",
)
@click.option("--overwrite", is_flag=True, help="Replace DST once the new one is complete.")
@json_option
def command(
    src: Path,
    dst: Path,
    start: str | None,
    stop: str | None,
    episodes: str | None,
    streams: str | None,
    clock: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Make a recording in the directory DST of a stretch of the recording SRC, in the same formats.

    Times, numbers, steps, gaps and marks stay what they were. Films are copied from keyframe to keyframe;
    only frames before the first keyframe within are encoded again.
    """
    from ..tools import cut

    with progress("cutting") as told:
        made = cut(
            src, dst, start=start, stop=stop, episodes=episodes, streams=names(streams), clock=clock,
            overwrite=overwrite, progress=told, command=command_line(),
        )  # fmt: skip
    print_made(made, as_json)
