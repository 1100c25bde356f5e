"""recd, the simulation's side: hand samples over, go on simulating; the files are written elsewhere.

::

    from recd_client import CSVFile, NPZFile, Recorder, VideoFile

    with Recorder("walk", dt=0.01) as rec:
        state = rec.stream("state", NPZFile("state.npz"), CSVFile("state.csv"))
        for _ in range(1000):
            sim.step()
            state.write({"qpos": sim.qpos, "qvel": sim.qvel}, t=sim.time)
"""

from .errors import (
    ClosedError,
    CodecError,
    DaemonNotRunningError,
    DaemonStartError,
    DataFunctionError,
    DataLossWarning,
    FlushTimeout,
    ForkedHandleError,
    LimitError,
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
from .options import CSVFile, HDF5File, NPZFile, NullSink, Ragged, SinkOptions, Split, VideoFile
from .recorder import Recorder
from .stream import Stream
from .summary import StreamSummary, Summary
from .version import BACKEND, __version__

__all__ = [
    "BACKEND",
    "CSVFile",
    "ClosedError",
    "CodecError",
    "DaemonNotRunningError",
    "DaemonStartError",
    "DataFunctionError",
    "DataLossWarning",
    "FlushTimeout",
    "ForkedHandleError",
    "HDF5File",
    "LimitError",
    "NPZFile",
    "NoSuchSessionError",
    "NullSink",
    "OptionError",
    "OutputError",
    "OutputExistsError",
    "ProtocolError",
    "Ragged",
    "RecdError",
    "RecordTooLargeError",
    "Recorder",
    "ReentrantWriteError",
    "SchemaError",
    "SharedMemoryFullError",
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
]
