"""``recd frame``: the newest frame of a stream, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from recd_client.errors import OutputError, SchemaError

from ._common import connect, console, json_option, line, print_json

_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@click.command(epilog="Example: recd frame front -o now.png", short_help="Save the newest frame of a stream.")
@click.argument("stream")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Picture to write: .png, .jpg, .webp, .bmp.",
)
@click.option(
    "--scale",
    nargs=2,
    type=float,
    metavar="LOW HIGH",
    help="Values that become black and white, where frames are not uint8.",
)
@json_option
def command(stream: str, output: Path, scale: tuple[float, float] | None, as_json: bool) -> int:
    """Save the newest frame of a stream of images that is being recorded.

    STREAM is a stream's name, or RUN/STREAM or SESSION/STREAM where that is not enough.
    """
    if output.suffix.lower() not in _SUFFIXES:
        raise OutputError(f"{output} is no name of a picture", f"let it end with {' or '.join(_SUFFIXES)}")
    from ..taps.picture import save
    from ..taps.stream import StreamTap, find, live_streams

    caller = connect()
    try:
        live = find(stream, live_streams(caller.call("status")["sessions"]))
    finally:
        caller.close()
    with StreamTap(live) as tap:
        if not tap.schema.is_image():
            fields = ", ".join(f"{f.name}: {f}" for f in tap.schema.fields)
            raise SchemaError(f"stream {live.name!r} has no images ({fields})", "look at it with: recd tail")
        taken = tap.newest(1)
        if not taken.batches:
            raise OutputError(f"stream {live.name!r} has no frame yet", "try again in a moment")
        batch = taken.batches[-1]
        save(batch.fixed(tap.schema.fields[0].name)[-1], output, scale)
        told = {"path": str(output), "stream": live.name, "seq": int(batch.seq[-1]), "t": float(batch.t[-1])}
    if as_json:
        print_json(told)
    else:
        line(console(), f"{output}: frame {told['seq']:,} of {live.name}, t = {told['t']:.6g} s")
    return 0
