"""``recd compare``: whether two recordings are equal, and where not."""

from __future__ import annotations

from pathlib import Path

import click

from ._common import console, count, json_option, line, print_json
from ._making import names

DIFFERENT_EXIT_CODE = 1


@click.command(
    epilog="Example: recd compare runs/before runs/after --rtol 1e-6",
    short_help="Tell whether two recordings are equal, and where not.",
)
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--streams", metavar="NAMES", help="Only these, separated by commas; marks are left out then.")
@click.option(
    "--rtol", type=float, default=0.0, metavar="X", help="Numbers may differ by X times their size."
)
@click.option("--atol", type=float, default=0.0, metavar="X", help="Numbers may differ by X.")
@click.option(
    "--psnr", type=float, metavar="DB", help="Frames need only be so much alike; 40 is hard to see."
)
@click.option(
    "--align",
    type=click.Choice(["number", "place"]),
    default="number",
    help="Samples belong together by their number (default; by place where it is not known), or by place.",
)
@json_option
def command(
    a: Path,
    b: Path,
    streams: str | None,
    rtol: float,
    atol: float,
    psnr: float | None,
    align: str,
    as_json: bool,
) -> int:
    """Compare the recordings (or files) A and B, sample by sample: values, times, numbers, gaps, marks, frames.

    Formats may differ. The exit code is 0 if they are equal, 1 if they are not.
    """
    from ..tools import compare

    found = compare(a, b, streams=names(streams), rtol=rtol, atol=atol, psnr=psnr, align=align)
    code = 0 if found.equal else DIFFERENT_EXIT_CODE
    if as_json:
        told = {**vars(found), "equal": found.equal, "differences": [vars(d) for d in found.differences]}
        print_json(told)
        return code
    out = console()
    for d in found.differences:
        where = f"{d.stream}.{d.field}" if d.field else d.stream or "marks"
        line(out, f"{where}: {d.what}: {d.text}")
    samples = (
        f"{count(len(found.samples), 'stream')}, {count(sum(found.samples.values()), 'sample')} compared"
    )
    verdict = "equal" if found.equal else count(len(found.differences), "difference")
    line(out, f"{verdict}: {samples}", "bold" if found.equal else "bold red")
    return code
