"""A live view of a simulation, as it can be had: what each step pays while somebody looks at the newest samples."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from recd_client import NullSink, SinkOptions

from ..kinds import ROWS, Kind, Sample
from ..timing import wait_until
from ..watching.viewers import PageServer, PageViewer
from .base import Way
from .recd import RecdWrite

_CLIENT: Final = Path(__file__).parents[1] / "programs" / "foxglove_client.py"
_HISTORY: Final = 200
_FIELDS: Final = 50


class RecdUnwatched(RecdWrite):
    """``write``, and nobody looks."""

    name = "recd write, nobody looks"
    families = frozenset({ROWS})

    def _choose(self) -> SinkOptions:
        return NullSink()


class RecdWatched(RecdUnwatched):
    """``write``, while a page of ``recd ui`` shows all of it."""

    name = "recd write, a page looks"

    def __init__(self, directory: Path, kind: Kind, **options: Any) -> None:
        import aiohttp  # noqa: F401 - the page is served with it

        super().__init__(directory, kind, **options)
        super().write(np.zeros(kind.shape), 0.0)
        self._server = PageServer()
        self._page = PageViewer(self._server, series=_FIELDS, cameras=0, session=self._rec.session)
        self._page.ready()

    def helpers(self) -> list[int]:
        """Those of the recording, and those that show."""
        return [*super().helpers(), self._server.pid, self._page.pid]

    def close(self) -> None:
        """Nobody looks any more."""
        self._page.close()
        self._server.close()
        super().close()


class RerunLive(Way):
    """``log`` on a stream that is connected to a receiver in another process, as to rerun's viewer."""

    name = "rerun, connected to a receiver"
    families: ClassVar = frozenset({ROWS})

    def __init__(self, directory: Path, kind: Kind) -> None:
        import rerun

        super().__init__(directory, kind)
        self._rerun = rerun
        program = shutil.which("rerun", path=os.path.dirname(sys.executable)) or shutil.which("rerun")
        if program is None:
            raise ImportError("the program rerun is not there", name="rerun (program)")
        port = _free_port()
        command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", str(directory / "live.rrd")]
        # A group of its own: the program that pip installs starts another one, which outlives it.
        self._viewer = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        wait_until(lambda: _listens(port))
        self._stream = rerun.RecordingStream("recd_bench")
        self._stream.connect_grpc(f"rerun+http://127.0.0.1:{port}/proxy")

    def write(self, data: Sample, t: float) -> object:
        """Set the time, and log."""
        self._stream.set_time("sim", duration=t)
        return self._stream.log("data", self._rerun.Scalars(data))

    def settle(self) -> None:
        """Its batcher has nothing left."""
        self._stream.flush()

    def close(self) -> None:
        """The receiver has ended."""
        self._stream.disconnect()
        os.killpg(self._viewer.pid, signal.SIGTERM)
        self._viewer.wait()

    def helpers(self) -> list[int]:
        """The receiver."""
        return [self._viewer.pid]


class FoxgloveLive(Way):
    """``log`` on a channel of a WebSocket server within the simulation, to which one viewer has subscribed."""

    name = "Foxglove server in the simulation"
    families: ClassVar = frozenset({ROWS})

    def __init__(self, directory: Path, kind: Kind) -> None:
        import aiohttp  # noqa: F401 - the viewer's
        import foxglove
        from foxglove import Channel

        super().__init__(directory, kind)
        self._context = context = foxglove.Context()  # its channels are closed with it
        numbers = {"type": "array", "items": {"type": "number"}}
        schema = {"type": "object", "properties": {"t": {"type": "number"}, "data": numbers}}
        self._channel = Channel("/data", schema=schema, context=context)
        self._server = foxglove.start_server(port=_free_port(), context=context)
        command = [sys.executable, str(_CLIENT), str(self._server.port)]
        self._viewer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if self._viewer.stdout is None or self._viewer.stdout.readline() != "subscribed\n":
            raise RuntimeError("the viewer could not subscribe")

    def write(self, data: Sample, t: float) -> object:
        """Make lists of it, and log them."""
        return self._channel.log({"t": t, "data": data.tolist()}, log_time=int(t * 1e9))

    def close(self) -> None:
        """Server and viewer have ended."""
        self._server.stop()
        self._viewer.communicate()

    def helpers(self) -> list[int]:
        """The viewer."""
        return [self._viewer.pid]


class Matplotlib(Way):
    """Lines that are drawn anew in each step, into memory; a window would come on top."""

    name = "matplotlib, drawn in the loop"
    families: ClassVar = frozenset({ROWS})

    def __init__(self, directory: Path, kind: Kind) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        super().__init__(directory, kind)
        self._canvas = FigureCanvasAgg(Figure(figsize=(6.4, 4.8)))
        self._axes = self._canvas.figure.add_subplot()
        self._axes.set_ylim(-4, 4)
        self._lines = [self._axes.plot([], [])[0] for _ in range(kind.shape[0])]
        self._t: deque[float] = deque(maxlen=_HISTORY)
        self._values: deque[Sample] = deque(maxlen=_HISTORY)

    def write(self, data: Sample, t: float) -> object:
        """Keep the sample, and draw the newest ones."""
        self._t.append(t)
        self._values.append(data.copy())
        values = np.array(self._values)
        for line, column in zip(self._lines, values.T, strict=True):
            line.set_data(self._t, column)
        self._axes.set_xlim(self._t[0], self._t[-1] + 1e-3)
        return self._canvas.draw()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True
