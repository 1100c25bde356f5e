"""``recd thumbs``: a film as one picture."""

from __future__ import annotations

from pathlib import Path

import click

from ._common import clean, console, count, json_option, line, print_json
from ._making import command_line


@click.command(
    epilog="Example: recd thumbs recordings/walk/20261122T134005 front -o sheet.png --count 12",
    short_help="Show a film as one picture.",
)
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("stream", required=False)
@click.option(
    "-o", "--output", required=True, metavar="FILE", type=click.Path(path_type=Path),
    help="The picture to make: .png or .jpg.",
)  # fmt: skip
@click.option(
    "--count", "frames", type=int, default=20, show_default=True, metavar="N", help="So many frames."
)
@click.option("--at", metavar="T,T", help="Frames at these stream times, s, in place of evenly spread ones.")
@click.option("--columns", type=int, metavar="N", help="Frames side by side; default: about a square.")
@click.option("--width", type=int, default=240, show_default=True, metavar="PX", help="Width of a frame.")
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@json_option
def command(
    path: Path,
    stream: str | None,
    output: Path,
    frames: int,
    at: str | None,
    columns: int | None,
    width: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Make a contact sheet of STREAM, or of the only stream with images, of the recording or film PATH."""
    from recd_client.errors import OptionError

    from ..tools import thumbs

    try:
        times = None if at is None else [float(t) for t in at.split(",")]
    except ValueError:
        raise OptionError(
            f"--at {at!r}: expected seconds, separated by commas", "as in --at 0,1.5,3"
        ) from None
    made = thumbs(
        path, output, stream=stream, at=times, count=frames, columns=columns, width=width, overwrite=overwrite,
        command=command_line(),
    )  # fmt: skip
    if as_json:
        print_json({**vars(made), "path": str(made.path)})
        return
    what = f"{count(len(made.samples), 'frame')} of {made.stream}, {made.width} x {made.height} pixels"
    line(console(), f"{clean(made.path)}: {what}")
