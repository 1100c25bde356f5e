"""``recd play``: a recording once more, at its own pace, into a terminal, windows, a function, or rings."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recd_client.errors import DataLossWarning, IncompleteRecordingWarning, OptionError

from ._common import clean, count

if TYPE_CHECKING:
    from ..player.console import Console
    from ..player.outputs.base import Output
    from ..player.playback import Playback
    from ..player.timeline import Timeline
    from ..reader import Run


@click.command(
    epilog="Keys: SPACE pause, RIGHT next, LEFT back, UP/DOWN rate, PgUp/PgDn 10 s, [ and ] 1 s, HOME begin, q end. "
    "Example: recd play recordings/walk/20261122T134005Z --rate 0.5",
    short_help="Play a recording.",
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("-r", "--rate", default=1.0, show_default=True, help="Speed; 0: as fast as it is taken.")
@click.option("-l", "--loop", is_flag=True, help="Begin anew at the end.")
@click.option("-p", "--start-paused", is_flag=True, help="Stand still until SPACE or RIGHT is pressed.")
@click.option("--start-offset", default=0.0, metavar="S", help="Begin so many seconds behind the begin.")
@click.option("--duration", type=float, metavar="S", help="Play so many seconds of the recording.")
@click.option("--until", type=float, metavar="T", help="Play up to this stream time.")
@click.option("-d", "--delay", default=0.0, metavar="S", help="Wait so long before the first sample.")
@click.option("--streams", metavar="NAMES", help="Only these, with commas between.")
@click.option("-e", "--regex", metavar="REGEX", help="Also, or only, those whose whole name matches.")
@click.option("-x", "--exclude", metavar="REGEX", help="Without those whose whole name matches.")
@click.option(
    "--to",
    "target",
    metavar="WHERE",
    help="terminal (default), window, live (rings, as if it were recorded now), or module:function.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "json", "table"]),
    help="terminal: print each sample. In a pipe by default: csv of one stream of numbers, else json.",
)
@click.option("--record", metavar="FORMATS", help="live: record into csv,npz,hdf5,mp4.")
@click.option("--sinks", metavar="FILE", help="live: record as this TOML file says, stream by stream.")
@click.option("--dir", "directory", type=click.Path(path_type=Path), help="live: where files land.")
@click.option("--toolkit", type=click.Choice(["mpl", "qt"]), default="mpl", help="window: what draws lines.")
def command(path: Path, **options: Any) -> int:
    """Play a recording: its samples and marks in the order of their times, each when it is due.

    PATH is a recording's directory, its manifest.json, or a data file. A terminal's keys pause, step, seek and change
    the rate. Whatever PATH lacks is named, and the rest is played.
    """
    from .. import reader
    from ..player.console import Console
    from ..player.outputs.printed import PrintedOutput
    from ..player.outputs.shown import ShownOutput, StatusLine
    from ..player.pacer import Pacer
    from ..player.playback import Playback
    from ..player.selection import chosen
    from ..player.timeline import Timeline

    with warnings.catch_warnings(), ExitStack() as stack:
        for kind in (IncompleteRecordingWarning, DataLossWarning):  # told below
            warnings.simplefilter("ignore", kind)
        run = stack.enter_context(reader.open(path))
        names = _split(options["streams"])
        streams = chosen(run, names, options["regex"], options["exclude"])
        timeline = Timeline(run, streams)
        output = _output(run, timeline.streams, options)
        told = _tell_problems(run, set())
        console = Console(output)
        start, stop = _stretch(timeline, options)
        playback = Playback(
            timeline,
            Pacer(options["rate"]),
            start=start,
            stop=stop,
            loop=options["loop"],
            delay_s=options["delay"],
            waiting=console,
            on_rewind=output.rewound,
        )
        if options["start_paused"]:
            playback.pause()
        console.playback = playback
        output.open(playback)
        shown = output if isinstance(output, ShownOutput) else None
        if sys.stderr.isatty() and (shown is not None or not isinstance(output, PrintedOutput)):
            console.status = StatusLine(playback, shown)
        interrupted, whole = _play(playback, console, output, hold=options["target"] == "window")
        lines = output.close(whole=whole)
        _tell_problems(run, told)
        for line in [*lines, _summary(playback)]:
            click.echo(line, err=True)
    if interrupted:
        raise click.Abort
    return 0


def _play(playback: Playback, console: Console, output: Output, *, hold: bool) -> tuple[bool, bool]:
    """Play to the end; whether Ctrl-C ended it, and whether all was played."""
    from ..player.keys import Keys

    begun_whole = playback.start <= playback.timeline.start and not playback.loop
    interrupted = False

    def interrupt(number: int, frame: object) -> None:
        nonlocal interrupted
        if interrupted:  # the output holds it up
            raise KeyboardInterrupt
        interrupted = True
        playback.close()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with ExitStack() as stack:
            if Keys.are_there():
                console.keys = stack.enter_context(Keys(console.press))
                playback.holds = hold
            elif playback.paused:
                raise OptionError("--start-paused needs a terminal: nobody could go on", "leave it out")
            stack.callback(console.leave)
            for event in playback:
                if not output.take(event):
                    break
    except BrokenPipeError:  # how a reader of stdout leaves
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except BaseException:
        output.abandon()
        raise
    finally:
        signal.signal(signal.SIGINT, before)
    return interrupted, begun_whole and playback.at_end


def _split(names: str | None) -> list[str] | None:
    return None if names is None else [name.strip() for name in names.split(",") if name.strip()]


def _stretch(timeline: Timeline, options: dict[str, Any]) -> tuple[float, float]:
    """From where and up to where is played."""
    for name in ("start_offset", "duration", "delay"):
        value = options[name]
        if value is not None and not 0 <= value < float("inf"):
            raise OptionError(
                f"--{name.replace('_', '-')} {value}: expected seconds >= 0", "see: recd play --help"
            )
    start = timeline.start + options["start_offset"]
    ends = [timeline.end]
    if options["until"] is not None:
        ends.append(options["until"])
    if options["duration"] is not None:
        ends.append(start + options["duration"])
    return start, min(ends)


def _output(run: Run, streams: Any, options: dict[str, Any]) -> Output:
    """Where it is played to."""
    from ..player.outputs.function import FunctionOutput
    from ..player.outputs.printed import PrintedOutput
    from ..player.outputs.shown import ShownOutput

    records = options["record"] is not None or options["sinks"] is not None
    target = options["target"] or ("live" if records else "terminal")
    if target not in ("terminal", "window", "live") and ":" not in target:
        raise OptionError(f"--to {target}: expected terminal, window, live or module:function", "choose one")
    if records and target != "live":
        raise OptionError(f"--record and --sinks go with --to live, not {target}", "leave one out")
    if options["form"] is not None and target != "terminal":
        raise OptionError(f"--format goes with --to terminal, not {target}", "leave one out")
    if target == "terminal":
        if options["form"] is None and sys.stdout.isatty():
            return ShownOutput()
        numbers = [s for s in streams.values() if s.kind == "array"]
        alone = len(streams) == len(numbers) == 1
        return PrintedOutput(options["form"] or ("csv" if alone else "json"), streams)
    if ":" in target:
        return FunctionOutput(target)
    return _live_output(run, streams, options, target)


def _live_output(run: Run, streams: Any, options: dict[str, Any], target: str) -> Output:
    """Rings, with files or windows or neither."""
    from recd_client.options import NullSink

    from ..player.outputs import sinks
    from ..player.outputs.live import LiveOutput, names_of

    names = names_of(streams)
    if options["record"] is not None and options["sinks"] is not None:
        raise OptionError("--record and --sinks both say what is recorded", "leave one out")
    if target == "window":
        chosen, without = sinks.windows_of(streams, options["toolkit"])
        for name in without:
            click.echo(f"note: stream {clean(name)} is not shown: no plot can show such samples", err=True)
    elif options["record"] is not None:
        formats = sinks.checked_formats(_split(options["record"]) or [])
        chosen = sinks.files_of(streams, names, formats)
    elif options["sinks"] is not None:
        chosen = sinks.read_sinks(options["sinks"], streams)
    else:
        chosen = dict.fromkeys(streams, (NullSink(),))
    records = options["record"] is not None or options["sinks"] is not None
    if records and options["loop"]:
        raise OptionError("--loop would record the same again and again, without an end", "leave it out")
    return LiveOutput(run, chosen, names, directory=options["directory"], records=records)


def _tell_problems(run: Run, told: set[str]) -> set[str]:
    """Name what cannot be read and was not named yet."""
    for problem in run.problems:
        if problem not in told:
            click.echo(f"warning: {clean(problem)}", err=True)
    return {*told, *run.problems}


def _summary(playback: Playback) -> str:
    given = {name: n for name, n in playback.given.items() if n}
    pacing = playback.pacing
    text = f"played {count(sum(given.values()), 'sample')} of {count(len(given), 'stream')}"
    if pacing.events:
        text += (
            f"; late by {pacing.late_max_s * 1e3:.1f} ms at most, 99 % by {pacing.late_p99_s * 1e3:.1f} ms"
        )
    if pacing.slipped_s:
        text += f"; {pacing.slipped_s:.1f} s of standing still were not made up for"
    return text
