"""Runs a plot: its animation like any file that is built from the log, and its window beside that."""

from __future__ import annotations

from pathlib import Path

from recd_client.options import Plot

from ..runner import SinkContext
from ..samples import LogRunner
from ..sinks.base import AppendSink, BuildSink
from .keeper import Keeper


class PlotRunner(LogRunner):
    """A :class:`LogRunner` with a window.

    Parameters
    ----------
    context, index, options, final, sink
        See :class:`LogRunner`.
    live : bool
        Whether more samples will come: else there is nothing to watch.
    """

    def __init__(
        self,
        context: SinkContext,
        index: int,
        options: Plot,
        final: Path,
        sink: AppendSink | BuildSink,
        *,
        live: bool,
    ) -> None:
        super().__init__(context, index, options, final, sink)
        self._keeper: Keeper | None = None
        if live and options.show_window:
            self._keeper = Keeper(options, context.schema, str(context.info["name"]), context.log_directory)

    @property
    def _note(self) -> str:
        """Why there is no window any more."""
        return "" if self._keeper is None else self._keeper.note

    @property
    def word(self) -> str:
        """See :class:`~recd.runner.Runner`."""
        return super().word or self._note

    @property
    def standing(self) -> tuple[str, str]:
        """See :class:`~recd.runner.Runner`."""
        state, reason = super().standing
        return state, reason or self._note

    def end(self, position: int, next_seq: int = 0) -> None:
        """See :class:`~recd.runner.Runner`."""
        self._close_window()
        super().end(position, next_seq)

    def stop(self) -> None:
        """See :class:`~recd.runner.Runner`."""
        self._close_window()
        super().stop()

    def _close_window(self) -> None:
        if self._keeper is not None:
            self._keeper.stop()
