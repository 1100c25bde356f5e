"""``recd replay``: a recording back into a simulation of MuJoCo or Gymnasium: seen, filmed, or checked."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from recd_client.errors import IncompleteRecordingWarning, MissingLibraryError, OptionError, ReplayWarning

from ._common import clean

#: What a check that does not hold ends with.
DIVERGED_EXIT_CODE = 1


@click.command(
    epilog="Example: recd replay recordings/arm/20261122T134005Z --model arm.xml --check",
    short_help="Put a recording back into a simulation.",
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("-m", "--model", metavar="FILE", help="A model of MuJoCo, .xml or .mjb: states are set in it.")
@click.option("--env", metavar="ID", help="An environment of Gymnasium: it takes the recorded actions.")
@click.option("--stream", metavar="NAME", help="Which holds states or episodes, where several do.")
@click.option("--episodes", metavar="NUMBERS", help="Only these, from 0 on, with commas between.")
@click.option(
    "--check", is_flag=True, help="Feed the recorded actions, and compare; exit code 1 if it diverges."
)
@click.option("--tolerance", type=float, default=0.0, show_default=True, help="check: what counts as equal.")
@click.option("--recorded", type=click.Choice(["after", "before"]), default="after", show_default=True,
              help="check, MuJoCo: samples were written behind mj_step, or before it.")  # fmt: skip
@click.option("--begin", type=click.Choice(["recording", "simulation"]), default="recording", show_default=True,
              help="check, MuJoCo: from the first recorded state, or a step before it from a fresh model.")  # fmt: skip
@click.option(
    "--render", "camera", metavar="CAMERA", help="Film it with this camera of the model; -1: the free one."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="render: the film.")
@click.option("--fps", type=float, default=30.0, show_default=True, help="render: frames per second.")
@click.option("--size", default="640x480", show_default=True, metavar="WxH", help="render: pixels.")
@click.option("-r", "--rate", type=float, default=1.0, show_default=True, help="Speed in the viewer.")
@click.option("-l", "--loop", is_flag=True, help="Begin anew at the end, in the viewer.")
def command(path: Path, **options: Any) -> int:
    """Put a recording back into a simulation.

    With --model alone, its states are shown in MuJoCo's viewer (SPACE, RIGHT, LEFT, UP, DOWN); with --render they are
    filmed by another camera; with --check a fresh simulation takes the recorded actions, and it is told where and by
    how much it leaves the recording.
    """
    from .. import reader

    _check_options(options)
    with warnings.catch_warnings(record=True) as met, ExitStack() as stack:
        warnings.simplefilter("always", IncompleteRecordingWarning)
        warnings.simplefilter("always", ReplayWarning)
        run = stack.enter_context(reader.open(path))
        code = _replay(run, options, stack)
        for one in met:
            if issubclass(one.category, (IncompleteRecordingWarning, ReplayWarning)):
                click.echo(f"warning: {clean(one.message)}", err=True)
    return code


def _check_options(options: dict[str, Any]) -> None:
    if (options["model"] is None) == (options["env"] is None):
        raise OptionError("expected --model or --env", "for instance --model arm.xml, or --env Humanoid-v5")
    if options["env"] is not None and not options["check"]:
        raise OptionError(
            "--env goes with --check", "add it; to step through in Python: recd.replay(run, env)"
        )
    if options["camera"] is not None and (options["check"] or options["output"] is None):
        raise OptionError("--render goes with --output, and not with --check", "for instance -o side.mp4")


def _replay(run: Any, options: dict[str, Any], stack: ExitStack) -> int:
    from ..replayer import replay

    given: dict[str, Any] = {"stream": options["stream"], "episodes": _numbers(options["episodes"])}
    if options["check"]:
        sim: Any = options["model"]
        checked: dict[str, Any] = {"tolerance": options["tolerance"]}
        if sim is None:
            sim = _environment(options["env"])
            stack.callback(sim.close)
        else:
            checked |= {"recorded": options["recorded"], "begin": options["begin"]}
        report = replay(run, sim, check=True, **given, **checked)
        click.echo(_clean_lines(str(report)))
        return 0 if report.holds else DIVERGED_EXIT_CODE
    replayed = replay(run, options["model"], **given)
    if options["camera"] is None:
        replayed.show(options["rate"], loop=options["loop"])
        return 0
    camera = options["camera"]
    width, height = _size(options["size"])
    summary = replayed.render(
        int(camera) if camera.lstrip("-").isdigit() else camera, options["output"],
        fps=options["fps"], width=width, height=height,
    )  # fmt: skip
    click.echo(_clean_lines(str(summary)))
    return 0 if summary.complete else 1


def _clean_lines(text: str) -> str:
    """Text of several lines, each made harmless for a terminal."""
    return "\n".join(clean(line) for line in text.splitlines())


def _environment(name: str) -> Any:
    try:
        import gymnasium
    except ModuleNotFoundError:
        raise MissingLibraryError(
            "--env needs gymnasium, which is not installed here", "pip install gymnasium"
        ) from None
    try:
        return gymnasium.make(name)
    except gymnasium.error.Error as e:
        raise OptionError(f"--env {name}: {e}", "name one that gymnasium.make knows") from None


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(
            f"--episodes {text}: expected numbers with commas between", "--episodes 0,2"
        ) from None


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not width.isdigit() or not height.isdigit():
        raise OptionError(f"--size {text}: expected pixels, such as 640x480", "width first")
    return int(width), int(height)
