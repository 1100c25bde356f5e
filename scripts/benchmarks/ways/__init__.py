"""What a simulation can call to get a sample out of its loop: recd, and what people use instead.

=======  ==================================================================
base     what all of them are
recd     ``write`` and ``claim``
kept     memory only: lists, and bare copies as the limit of what is possible
inline   csv.writer and h5py, in the loop
handed   a queue, and a thread or a process behind it
video    PyAV and imageio-ffmpeg, in the loop
rrd      rerun, to a file
mcap     Foxglove, to a file
shown    live views, recd's and others'
=======  ==================================================================

Each peer is used as its own documentation recommends; what it wrote is counted in its file.
"""

from .base import Way
from .handed import ProcessQueue, QueueAndThread
from .inline import CSVInline, HDF5Inline
from .kept import BareCopy, ListAppend
from .mcap import FoxgloveBytes, FoxgloveJSON
from .recd import RecdClaim, RecdHDF5, RecdNPZ, RecdWrite
from .rrd import Rerun
from .video import FFmpegInline, PyAVInline

#: In the order of the tables.
ALL: tuple[type[Way], ...] = (
    RecdWrite,
    RecdClaim,
    RecdNPZ,
    RecdHDF5,
    BareCopy,
    ListAppend,
    QueueAndThread,
    ProcessQueue,
    CSVInline,
    HDF5Inline,
    FFmpegInline,
    PyAVInline,
    Rerun,
    FoxgloveBytes,
    FoxgloveJSON,
)

#: Those that are recd.
RECD = (RecdWrite, RecdClaim)

__all__ = [
    "ALL",
    "RECD",
    "BareCopy",
    "ListAppend",
    "QueueAndThread",
    "RecdClaim",
    "RecdHDF5",
    "RecdNPZ",
    "RecdWrite",
    "Way",
]
