"""The command line: one file per verb, loaded when it is asked for.

A simulation that starts its daemon waits for ``recd start``; so nothing here, and nothing that a verb
imports at its top, may be slow to import (a test holds numpy, h5py and rich out).
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, Final, NoReturn

import click

from recd_client.errors import RecdError

from .. import __version__

#: In the order in which one meets them; each is a module of this package with a command ``command``.
VERBS: Final = (
    "start", "stop", "restart", "status", "top", "ls", "tail", "frame", "watch", "mark", "ui", "play", "convert",
    "replay", "cut", "merge", "compare", "thumbs", "info", "verify", "recover", "doctor", "service", "demo",
)  # fmt: skip
INTERRUPTED_EXIT_CODE: Final = 130


class VerbGroup(click.Group):
    """A group whose commands are imported on first use, and whose errors end with what to do."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name every verb."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f".{cmd_name}", __package__).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; for a misspelled one, name the nearest."""
        near = difflib.get_close_matches(args[0], VERBS, n=1) if args[0] not in VERBS else []
        if near and not args[0].startswith("-"):
            raise click.UsageError(f"no verb {args[0]!r}; did you mean {near[0]!r}?", ctx)
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, standalone_mode: bool = True, **kwargs: Any) -> Any:
        """Run the command line and exit with its code; the one place where errors become messages."""
        run: Callable[..., Any] = super().main
        if not standalone_mode:
            return run(*args, standalone_mode=False, **kwargs)
        try:
            code = run(*args, standalone_mode=False, **kwargs)
            sys.stdout.flush()
        except click.UsageError as e:
            at = e.ctx.command_path if e.ctx is not None else "recd"
            _fail(e.format_message(), f"see: {at} --help", e.exit_code)
        except RecdError as e:
            _fail(e.what, e.do, e.exit_code)
        except click.ClickException as e:
            _fail(e.format_message(), "see: recd --help", e.exit_code)
        except click.Abort:
            _fail("interrupted", "run it again when you like", INTERRUPTED_EXIT_CODE)
        except OSError as e:
            where = f"{e.filename}: " if e.filename else ""
            _fail(f"{where}{e.strerror or type(e).__name__}", "check that path and what it lies on", 1)
        sys.exit(code if isinstance(code, int) else 0)


def _fail(what: str, do: str, exit_code: int) -> NoReturn:
    """Say on stderr what happened and what to do, and exit; with RECD_DEBUG=1, raise instead."""
    if os.environ.get("RECD_DEBUG") == "1":
        raise  # what _fail's caller is handling
    click.echo(f"error: {what}" + (f"\n  -> {do}" if do else ""), err=True)
    sys.exit(exit_code)


@click.group(
    "recd",
    cls=VerbGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 success, 1 an error, 2 a wrong argument, 3 no daemon. Example: recd demo",
)
@click.version_option(__version__, "--version", message="recd %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Record simulations to CSV, NPZ, HDF5 and video, in processes of their own."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
