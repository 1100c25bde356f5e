"""Reading recordings: ``run = recd.open(path)``, and nothing is written, whatever state they are in.

============  ============================================================================
opening       what a path stands for
manifested    a recording as its manifest tells it
unfinished    one that is still running, or was killed: as its logs tell it
files         data files alone
run           :class:`Run`: streams, marks, episodes, aligned samples
stream        what all streams have: timeline, finding a sample by its time
arrays        :class:`ArrayStream`, with its :class:`Column`; video: :class:`VideoStream`
tables        a file of samples as rows: npz, hdf5, csv, logged
numbering     which number each sample has; clocks: its step and wall time, where they can be known
decoding      frames out of a video file
============  ============================================================================
"""

from .arrays import ArrayStream, Block
from .column import Column, Lists
from .data import Gap, Mark
from .episodes import Episode
from .opening import open
from .run import Run
from .stream import Stream
from .video import FrameTable, VideoStream

__all__ = [
    "ArrayStream", "Block", "Column", "Episode", "FrameTable", "Gap", "Lists", "Mark", "Run", "Stream", "VideoStream",
    "open",
]  # fmt: skip
