"""recd, the simulation's side: hand samples over, go on simulating; the files are written elsewhere.

::

    from recd_client import CSVFile, NPZFile, Recorder, VideoFile

    with Recorder("walk", dt=0.01) as rec:
        state = rec.stream("state", NPZFile("state.npz"), CSVFile("state.csv"))
        for _ in range(1000):
            sim.step()
            state.write({"qpos": sim.qpos, "qvel": sim.qvel}, t=sim.time)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .alert import Alert
    from .decorator import record
    from .errors import (
        ClosedError,
        CodecError,
        CodeNotAllowedError,
        CustomSinkError,
        DaemonNotRunningError,
        DaemonStartError,
        DataFunctionError,
        DataLossWarning,
        FlushTimeout,
        ForkedHandleError,
        LimitError,
        MissingLibraryError,
        NoSuchSessionError,
        OptionError,
        OutputError,
        OutputExistsError,
        ProtocolError,
        RecdError,
        RecordTooLargeError,
        ReentrantWriteError,
        SchemaError,
        SharedMemoryFullError,
        StreamExistsError,
        UnsupportedPlatformError,
        VersionMismatchError,
        WorkerError,
    )
    from .native import BACKEND
    from .options import (
        CSVFile,
        CustomSink,
        HDF5File,
        NPZFile,
        NullSink,
        Ragged,
        SinkOptions,
        Split,
        VideoFile,
    )
    from .plot_options import MPLImagePlot, MPLLinePlot, MPLVectorFieldPlot, PyQtLinePlot
    from .recorder import Recorder
    from .schema import Schema
    from .sink import Sink
    from .stream import Stream
    from .summary import StreamSummary, Summary

__all__ = [
    "BACKEND",
    "Alert",
    "CSVFile",
    "ClosedError",
    "CodeNotAllowedError",
    "CodecError",
    "CustomSink",
    "CustomSinkError",
    "DaemonNotRunningError",
    "DaemonStartError",
    "DataFunctionError",
    "DataLossWarning",
    "FlushTimeout",
    "ForkedHandleError",
    "HDF5File",
    "LimitError",
    "MPLImagePlot",
    "MPLLinePlot",
    "MPLVectorFieldPlot",
    "MissingLibraryError",
    "NPZFile",
    "NoSuchSessionError",
    "NullSink",
    "OptionError",
    "OutputError",
    "OutputExistsError",
    "ProtocolError",
    "PyQtLinePlot",
    "Ragged",
    "RecdError",
    "RecordTooLargeError",
    "Recorder",
    "ReentrantWriteError",
    "Schema",
    "SchemaError",
    "SharedMemoryFullError",
    "Sink",
    "SinkOptions",
    "Split",
    "Stream",
    "StreamExistsError",
    "StreamSummary",
    "Summary",
    "UnsupportedPlatformError",
    "VersionMismatchError",
    "VideoFile",
    "WorkerError",
    "__version__",
    "record",
]

#: What is loaded when it is first asked for: the command line shares this package, and `recd start`, for
#: which a cold recorder waits, has no use for numpy.
_HOMES = {
    "alert": ("Alert",),
    "decorator": ("record",),
    "native": ("BACKEND",),
    "options": (
        "CSVFile",
        "CustomSink",
        "HDF5File",
        "NPZFile",
        "NullSink",
        "Ragged",
        "SinkOptions",
        "Split",
        "VideoFile",
    ),
    "plot_options": ("MPLImagePlot", "MPLLinePlot", "MPLVectorFieldPlot", "PyQtLinePlot"),
    "recorder": ("Recorder",),
    "schema": ("Schema",),
    "sink": ("Sink",),
    "stream": ("Stream",),
    "summary": ("StreamSummary", "Summary"),
}


#: Adapters to simulators, which are imported only when they are named.
_ADAPTERS = ("genesis", "gymnasium", "mujoco")


def __getattr__(name: str) -> Any:
    if name in _ADAPTERS:
        return import_module(f".{name}", __name__)
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((home for home, names in _HOMES.items() if name in names), "errors")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
