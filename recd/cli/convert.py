"""``recd convert``: recordings in another format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._common import clean, console, count, duration, json_option, line, print_json, size
from ._making import command_line, names, progress

if TYPE_CHECKING:
    from ..converter import Converted


@click.command(
    epilog="Example: recd convert recordings/walk/* walk --to lerobot --fps 50",
    short_help="Turn recordings into training sets, tables and films.",
)
@click.argument("src", nargs=-1, type=click.Path(path_type=Path))
@click.argument("dst", required=False, type=click.Path(path_type=Path))
@click.option("--to", "form", metavar="FORMAT", help="The format to make; see docs/convert.md.")
@click.option(
    "--map", "map_in", metavar="FILE", type=click.Path(path_type=Path), help="Which field becomes what."
)
@click.option(
    "--map-out", metavar="FILE", type=click.Path(path_type=Path), help="Write a guessed map, and stop."
)
@click.option("--fps", type=float, metavar="N", help="Put all streams on N rows per second.")
@click.option("--align", metavar="HOW", help="What holds between samples: previous, nearest or linear.")
@click.option("--episodes", metavar="LIST", help="Only these, as in 0,3-7.")
@click.option("--success", is_flag=True, help="Only episodes that succeeded.")
@click.option("--streams", metavar="NAMES", help="Only these, separated by commas.")
@click.option("--overwrite", is_flag=True, help="Replace DST once the new one is complete.")
@json_option
def command(
    src: tuple[Path, ...],
    dst: Path | None,
    form: str | None,
    map_in: Path | None,
    map_out: Path | None,
    fps: float | None,
    align: str | None,
    episodes: str | None,
    success: bool,
    streams: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Turn recordings into another format: SRC are what recd records, DST is made.

    Formats: csv npz hdf5 parquet zarr mcap rrd mp4 png (each stream at its own rate), lerobot robomimic minari
    (episodes, all on one time axis). Interrupted, the same command goes on where it was. With --map-out only
    the map is written: change it, and give it back with --map.
    """
    from recd_client.errors import OptionError, StoppedError

    named = names(streams)
    if map_out is not None:
        _write_map([*src, *([dst] if dst else [])], map_out, named, overwrite)
        return
    if not src or dst is None:
        raise click.UsageError("expected SRC... DST: what to convert, and what to make of it")
    if form is None:
        from ..converter import targets

        raise OptionError("no --to: which format?", f"one of {', '.join(targets.NAMES)}")
    from ..converter import convert

    try:
        with progress("converting") as told:
            made = convert(
                src, dst, to=form, map=map_in, fps=fps, align=align, episodes=episodes, success=success,
                streams=named, overwrite=overwrite, progress=told, command=command_line(),
            )  # fmt: skip
    except KeyboardInterrupt:
        part = dst.absolute().with_name(f"{dst.name}.part")
        kept = f"what is done is kept in {part}" if part.exists() else "nothing was written"
        raise StoppedError(f"interrupted: {kept}", "run the same command again to go on") from None
    _print(made, as_json)


def _write_map(paths: list[Path], out: Path, streams: list[str] | None, overwrite: bool) -> None:
    """Write what would be used without a map."""
    from recd_client.errors import OptionError, OutputExistsError

    from ..converter import guess, mapping
    from ..reader import open as open_run

    if not paths:
        raise click.UsageError("expected SRC: what to look into")
    if out.exists() and not overwrite:
        raise OutputExistsError(
            f"{out} exists already", "choose another name, or replace it with --overwrite"
        )
    run = open_run(paths[0])
    found = guess.guess(run, streams)
    if not found.features:
        raise OptionError(f"{run.path} has nothing to make features of", "see: recd info")
    out.write_text(mapping.to_toml(found, found.resolve(run)), encoding="utf-8")
    told = console()
    line(told, f"{clean(out)}: {count(len(found.features), 'feature')}", "bold")
    line(told, f"  -> look at it, then: recd convert ... --map {out}")


def _print(made: Converted, as_json: bool) -> None:
    if as_json:
        print_json({**vars(made), "destination": str(made.destination)})
        return
    out = console()
    what = [count(made.episodes, "episode")] if made.episodes else [count(len(made.files), "file")]
    what += [
        count(made.samples, "row" if made.episodes else "sample"),
        size(made.bytes),
        f"in {duration(made.seconds)}",
    ]
    line(out, f"{clean(made.destination)}: {', '.join(what)}", "bold")
    if made.resumed:
        line(out, f"  {count(made.resumed, 'unit')} had been done before the interruption")
    for problem in made.problems:
        line(out, f"  {problem}", "yellow")
