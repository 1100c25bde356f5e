"""``recd merge``: several recordings as one."""

from __future__ import annotations

from pathlib import Path

import click

from ._common import json_option
from ._making import command_line, names, print_made, progress


@click.command(
    epilog="Example: recd merge runs/rank0 runs/rank1 runs/all --prefix auto",
    short_help="Put several recordings together.",
)
@click.argument("src", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.argument("dst", type=click.Path(path_type=Path))
@click.option(
    "--prefix", metavar="NAMES", help="Keep streams apart: a name for each SRC, or auto (its rank, or name)."
)
@click.option(
    "--clock",
    type=click.Choice(["sim", "wall"]),
    help="Take stream times as they are, or move each SRC by how much later it began.",
)
@click.option("--overwrite", is_flag=True, help="Replace DST once the new one is complete.")
@json_option
def command(
    src: tuple[Path, ...], dst: Path, prefix: str | None, clock: str | None, overwrite: bool, as_json: bool
) -> None:
    """Make one recording in the directory DST of the recordings SRC: parts of a run, its clients, or its ranks.

    Streams of one name must not overlap, and become one; with --prefix each stays a stream of its own. Without
    --clock, stream times are taken as they are for parts of one recording and where all have the same dt.
    """
    from ..tools import merge

    with progress("merging") as told:
        made = merge(
            src, dst, clock=clock, prefix="auto" if prefix == "auto" else names(prefix), overwrite=overwrite,
            progress=told, command=command_line(),
        )  # fmt: skip
    print_made(made, as_json)
