"""``recd recover``: finishes what was interrupted, without a daemon; says what was there, what was lost and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from recd_client.errors import OutputError, RecdError

from ..guests import consent
from ._common import allow_code_option, console, count, json_option, line, losses, print_json, size

if TYPE_CHECKING:
    from rich.console import Console

    from ..recovery import Remains, StreamRemains

LOSSY_EXIT_CODE: Final = 3
FAILED_EXIT_CODE: Final = 1


@click.command(
    epilog="Example: recd recover recordings/walk/20261122T134005 --dry-run",
    short_help="Finish recordings that were interrupted.",
)
@click.argument("directory", type=click.Path(path_type=Path), required=False)
@click.option("--dry-run", is_flag=True, help="Only say what is there.")
@allow_code_option
@json_option
def command(directory: Path | None, dry_run: bool, allow_code: bool, as_json: bool) -> int:
    """Finish every file of interrupted recordings, from their logs and what is left of their rings.

    DIRECTORY is searched with all below it; without it, every recording that this user's index knows.
    It may have been moved, or copied from another machine. A recording on which a daemon or its own
    simulation still works is left alone. Logs are deleted only when all that they hold is in finished,
    synced files.

    Exit code: 0 if nothing is missing in any file, 3 if something is lost, 1 if something could not be
    finished. (recd start also finishes what it finds.)
    """
    from .. import recovery

    consent.give(allow_code)
    if directory is not None and not directory.is_dir():
        raise OutputError(
            f"{directory} {'is no directory' if directory.exists() else 'does not exist'}",
            "give the directory of a recording, or one above it; recordings are listed by: recd ls --all",
        )
    out = console(stderr=as_json)
    reports: list[dict[str, Any]] = []
    if not dry_run:
        recovery.clear(directory)
    for remains in recovery.find(directory):
        report = remains.to_json()
        if not as_json:
            _show_found(out, remains)
        if not (dry_run or remains.held_by or remains.problem):
            _finish(out, remains, report)
        reports.append(report)
        if not as_json:
            _show_outcome(out, report)
    if as_json:
        print_json({"recordings": reports})
    elif not reports:
        line(out, "nothing to recover" + ("" if directory is None else f" in {directory}"))
    return _exit_code(reports)


def _exit_code(reports: list[dict[str, Any]]) -> int:
    if any(r["problem"] for r in reports):
        return FAILED_EXIT_CODE
    return LOSSY_EXIT_CODE if any(r.get("lossless") is False for r in reports) else 0


def _finish(out: Console, remains: Remains, report: dict[str, Any]) -> None:
    """Finish a recording, and put into its report what came of it."""
    from .. import recovery

    try:
        with _progress(out) as tell:
            ended = recovery.finish(remains, tell)
    except (RecdError, OSError) as e:
        report["problem"] = str(e)
        return
    keys = ("samples", "attempted", "lost", "gaps", "state", "reason")
    report["recovered"] = {
        name: {**{k: s.get(k) for k in keys}, "files": [f["path"] for f in s.get("files", ())]}
        for name, s in ended.get("streams", {}).items()
    }
    report["lossless"] = recovery.is_lossless(ended)
    unfinished = [
        f"stream {n}: {s['reason']}" for n, s in report["recovered"].items() if s["state"] == "failed"
    ]
    if unfinished or not ended:
        report["problem"] = "; ".join(unfinished) or "no manifest was written"


@contextmanager
def _progress(out: Console) -> Iterator[Callable[[int, int], object]]:
    """A line that tells how many streams are finished; only on a terminal, and without a thread: workers fork."""
    from rich.live import Live

    with Live(
        "finishing",
        console=out,
        transient=True,
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as live:
        yield lambda done, of: live.update(f"finishing: {done} of {count(of, 'stream')} done", refresh=True)


# --- telling --------------------------------------------------------------------------------------


def _show_found(out: Console, remains: Remains) -> None:
    line(out, f"{remains.name}  {remains.directory}", "bold")
    for stream in remains.streams:
        line(out, f"  {stream.name}: found {_found(stream)}")


def _found(stream: StreamRemains) -> str:
    kept = f"{count(stream.samples, 'sample')}"
    if stream.state not in ("unfinished", "failed"):
        return f"{kept}, in finished files ({stream.state})"
    if stream.state == "failed":
        return f"{kept}, of which a file failed; it is made again from the log"
    ring = f"no ring: {stream.ring_gone}"
    if stream.ring_bytes is not None:
        ring = f"{size(stream.ring_bytes)} in its ring"
    fed = f"{count(stream.frames_fed, 'frame')} given to its encoder, " if stream.frames_fed else ""
    return f"{fed}{kept} in its log ({size(stream.log_bytes)}), {ring}"


def _show_outcome(out: Console, report: dict[str, Any]) -> None:
    for name, s in report.get("recovered", {}).items():
        lost = losses(s["lost"])
        text = f"  {name}: recovered {count(s['samples'], 'sample')} in {count(len(s['files']), 'file')}"
        text += ", lost 0" if lost == "0" else f", LOST {lost}"
        line(out, text + (f" ({s['reason']})" if s["reason"] else ""), "" if lost == "0" else "red")
    if report["problem"]:
        line(out, f"  not finished: {report['problem']}", "red")
    elif report["held_by"]:
        line(out, f"  left alone: {report['held_by']}", "yellow")
    elif "lossless" in report:
        line(out, "  nothing is lost" if report["lossless"] else "  finished, with losses")
