"""Runs a video: frames from the ring (or the log) to ffmpeg, and what is safe in its file.

A frame keeps its place in the ring or the log until it can be decoded from the part file; ffmpeg holds
some dozens in its own queues. Before a frame is fed, a line of the index (:mod:`recd.shots`) says which
sample it is. So after the death of worker or encoder the frames that decode tell exactly where to go on:
at the record behind the last of them. Each ffmpeg process writes a piece (:mod:`recd.pieces`); the pieces
of a part are joined without encoding them again when the part is complete.

::

    feeding ──end of part──▶ closing ──ffmpeg has completed its file──▶ feeding, the next part
       ▲                        │
       │                        ▼ ffmpeg died, or a worker before us did
       └── counted ───────── waiting (until ffmpeg is gone; then count what decodes, go back to there)

What ends a part (a reset, its size) is passed only once the part is written down as complete: whoever
goes on after a death meets it again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np

from recd_client.options import Split, VideoFile, as_frame_rate

from .batch import DISCARD, RESET, Event
from .durable import CanSync, sync_directory
from .films import Films, remove_pieces
from .finisher import Job
from .fit import settings_of
from .log import Missing
from .parts import Part
from .pieces import Piece, Pieces
from .runner import FrameRunner, SinkContext
from .shots import Shot, ShotIndex, frames_table, missing_in, place_behind, tally_of
from .source import Frame, RecordSource
from .video.pictures import Pictures, told_of

_SLICE_FRAMES: Final = 4
#: What is written down of a part for a successor, and tells users nothing.
_PRIVATE: Final = ("pieces", "first_seq", "next_seq", "seen_seq", "encoder", "video")


class VideoRunner(FrameRunner):
    """Runs one video file of one stream.

    For a direct track, which sets :attr:`source`'s ring, the frames come straight from the ring; and
    :attr:`note` is told what happens on the timeline, as nobody else sees it there.
    """

    def __init__(self, context: SinkContext, index: int, options: VideoFile, final: Path) -> None:
        super().__init__(context, index, options, final)
        self.source = RecordSource(context.log_directory, context.shelf)
        self.note: Callable[[Event], None] = lambda event: None
        self._picture = Pictures(context.schema.fields[0], options)
        self._settings = settings_of(options, context.schema)
        told = told_of(context.schema.fields[0].shape, options)
        self._films = Films(context, self._settings, self.parts, told)
        #: Another rate for the finished files, if one was asked for at the end.
        self._retimed: Fraction | None = None
        self._index = ShotIndex(self._path("frames", 0))
        self._pieces = Pieces(
            self._settings, context.finisher, context.now_ns, self._put_part, rebooted=context.rebooted
        )
        #: Where the part ends and the number of the sample behind it, while ffmpeg completes its file.
        self._roll_to: tuple[int, int] | None = None
        #: The same while the part is being thrown away: an error in between must not bring half of it back.
        self._discarding: tuple[int, int] | None = None
        self._astray = False  # whether a piece was counted, and this runner did not go back to its end yet
        self._fed = 0
        self._seen = 0  # number behind the newest sample that ever was fed
        self._unsafe: deque[int] = deque()  # where to read again for each frame that does not decode yet
        self._frame: Frame | None = None  # the one being fed
        self._shot: Shot | None = None  # what is being fed for it
        self._last: Frame | None = None  # the one fed before, in case it must be repeated
        self._resume()
        if not self._pieces.known:
            self._pieces.prepare(self.naming.part_path(0).suffix)

    # --- where we are ----------------------------------------------------------------------------
    def _resume(self) -> None:
        """Take up the newest part; if an ffmpeg of an earlier worker still writes, wait for it."""
        parts = self.parts.parts
        for part in parts.values():
            if part.state == "done":
                remove_pieces(part)
        newest = parts[max(parts)] if parts else None
        if newest is None:
            self._begin_part(0, 0, 0)
        elif newest.state != "open":
            self._begin_part(newest.number + 1, newest.end, int(newest.details["next_seq"]))
        else:
            self._begin_part(newest.number, newest.begin, int(newest.details["first_seq"]), fresh=False)
            self._seen = int(newest.details.get("seen_seq", 0))
            self._pieces.begin([Piece(**p) for p in newest.details["pieces"]])
            if self._index.path.exists():
                self._go_back()
            else:  # it was being thrown away, index first
                self._pieces.drop()
            if self.context.rebooted:
                self._skip_discarded()

    def _skip_discarded(self) -> None:
        """Go on behind what was thrown away: with the ring, what says so is gone."""
        places = [int(p.suffix.removeprefix(".discarded")) for p in self._discarded_paths()]
        behind = max(places, default=0)
        if behind > self.part.begin:
            self._pieces.drop()
            lines = ShotIndex(self._path("discarded", behind)).lines()
            next_seq = int(lines["seq"][-1]) + 1 if len(lines) else self._first_seq
            self._begin_part(self.part.number, behind, next_seq)

    def _discarded_paths(self) -> Iterator[Path]:
        return self.context.directory.glob(f"sink{self.index}.discarded*")

    def _begin_part(self, number: int, position: int, first_seq: int, *, fresh: bool = True) -> None:
        self.part = Part(number, position)
        self.position = position
        self._first_seq = self._expected = first_seq
        self._fed = 0
        self._roll_to = None
        self._forget()
        self._pieces.begin([])
        self._index.close()
        self._index = ShotIndex(self._path("frames", number))
        if fresh:
            self._index.cut(0)

    def _path(self, what: str, number: int) -> Path:
        return self.context.directory / f"sink{self.index}.{what}{number}"

    def _forget(self) -> None:
        """Let go of every record's memory."""
        self._unsafe.clear()
        self._frame = self._last = None
        self._shot = None

    def _go_back(self) -> None:
        """Go on behind the frames that decode; while an ffmpeg still writes, behind those of the others."""
        lines = self._index.lines()
        if len(lines) < self._pieces.counted:  # only a loss of power does that
            self._index.fill(self._pieces.counted, self.part.begin, self._first_seq)
            lines = self._index.lines()
        if len(lines):
            self._seen = max(self._seen, int(lines["seq"][-1]) + 1)
        lines = lines[: self._pieces.counted]
        if not self._pieces.waiting:
            with suppress(OSError):  # before the lines are gone that tell of frames which may be lost
                self._put_part()
            self._index.cut(len(lines))
        self._forget()
        self._roll_to = None
        self._fed = len(lines)
        self.part.samples = int(np.count_nonzero(lines["repeated"] == 0))
        if not self._fed:
            self.position, self._expected = self.part.begin, self._first_seq
            return
        self.position, self._expected = place_behind(lines)
        self.part.mono_first_ns = int(lines["mono_ns"][0])
        if not self._pieces.waiting and not lines["repeated"][-1]:
            self._split(int(lines["mono_ns"][-1]))

    @property
    def safe(self) -> int:
        """Every frame of a record before this position decodes from the file."""
        return self._unsafe[0] if self._unsafe else self.position

    @property
    def needed(self) -> int:
        """See :class:`Runner`."""
        return self.safe

    def may_drop(self, begin: int, end: int) -> bool:
        """See :class:`Runner`; what ffmpeg has, or is being given, is kept until it decodes."""
        busy = self.position if self._frame is None else self._frame.behind
        return end <= self.safe or begin >= busy

    def drop(self, begin: int, end: int) -> None:
        """See :class:`Runner`."""
        self.source.close()

    def release(self, position: int) -> None:
        """Keep no view of a record before ``position``: its memory is about to be overwritten."""
        shown = self._last if self._shot is not None and self._shot.repeated else self._frame
        if self._shot is not None and (shown is None or shown.begin < position):
            self._shot = replace(self._shot, data=_owned(self._shot.data))
        if self._last is not None and self._last.begin < position:
            self._last = replace(self._last, payload=_owned(self._last.payload))
        if self._frame is not None and self._frame.begin < position:
            self._frame = replace(self._frame, payload=_owned(self._frame.payload))

    @property
    def samples(self) -> int:
        """See :class:`Runner`."""
        return self.part.samples + sum(
            p.samples for p in self.parts.parts.values() if p.number != self.part.number
        )

    @property
    def progress(self) -> int:
        """See :class:`Runner`."""
        return super().progress + self._pieces.safe

    def waits_for(self) -> int:
        """See :class:`Runner`."""
        return self._pieces.fileno()

    # --- the loop's slice ------------------------------------------------------------------------
    def _step(self, log_end: int) -> bool:
        if self._discarding is not None:
            self._discard(*self._discarding)
            return True
        did = self._pieces.look()
        while len(self._unsafe) > max(self._fed - self._pieces.safe, 0):
            self._unsafe.popleft()
        if self._pieces.waiting:
            if not self._pieces.count():
                return did
            self._astray = True
        if self._astray:
            self._go_back()
            self._put_part()
            self._astray = False
            return True
        if self._roll_to is not None:
            return self._close(*self._roll_to) or did
        if self._frame is not None or self.position < log_end:
            return self._feed(log_end) or did
        if self.end_position is not None and self.position >= self.end_position:
            return self._end() or did
        return did

    def _feed(self, end: int) -> bool:
        """Give ffmpeg frames until it takes no more, a few at a time."""
        did = False
        for _ in range(_SLICE_FRAMES):
            if self._frame is not None:
                if not self._shoot(self._frame):
                    break
            elif self._roll_to is None and self.position < end:
                self._next(end)
            else:
                break
            did = True
        return did

    def _next(self, end: int) -> None:
        """Take the next record: an event at once, a frame to be fed."""
        what, behind = self.source.get(self.position, end)
        if what is not None and self.source.damaged:
            self._miss(what.seq)
        if isinstance(what, Frame):
            if what.seq >= self._expected:
                self._frame = what
            else:  # it is in the film already: its line was lost with the power, and with it the place behind it
                self.position = behind
            return
        if what is not None:
            self.note(what)
            label = what.data.get("label")
            whole = what.data.get("fields", {}).get("envs_idx") is None
            if label == RESET and whole and self.options.new_part_on_reset and self._fed:
                self._roll(behind, what.seq)
                return
            if label == DISCARD:
                self._discard(behind, what.seq)
                return
        self.position = behind

    def _miss(self, next_seq: int) -> None:
        """Tell of the numbers before ``next_seq`` that did not come, as the log is damaged."""
        self.miss(Missing(self.position, self.position, self._expected, next_seq, self.source.damaged))
        self.source.damaged = False

    def _shoot(self, frame: Frame) -> bool:
        """Feed one shot for this frame; False when ffmpeg is not ready for (the rest of) it."""
        shot = self._shot
        if shot is None:
            shot = self._shot_of(frame)
            self._index.put(self._fed, shot, frame)
            self._shot = shot
        if not self._pieces.feed(shot.data, self.naming.part_path(self.part.number), self._fed):
            return False
        self._unsafe.append(frame.begin)
        self._fed += 1
        self._expected = shot.seq + 1
        self._shot = None
        if not shot.repeated:
            self._taken(frame)
        return True

    def _shot_of(self, frame: Frame) -> Shot:
        """What to feed next for a frame: first a repetition of the last one for each missing sample.

        So a lost frame never shifts the ones that follow. Before the first frame of a part (or when the
        last one is gone with its worker) the frame itself stands in.
        """
        if self._expected < frame.seq:
            return Shot(self._picture((self._last or frame).payload), self._expected, True)
        return Shot(self._picture(frame.payload), frame.seq, False)

    def _taken(self, frame: Frame) -> None:
        """Ffmpeg has the whole frame."""
        self._last, self._frame = frame, None
        self.position = frame.behind
        if self.part.samples == 0:
            self.part.mono_first_ns = frame.mono_ns
        self.part.samples += 1
        self._split(frame.mono_ns)

    def _split(self, mono_ns: int) -> None:
        """End the part here if it is full."""
        if self.split is not None and self._over(self.split, mono_ns):
            self._roll(self.position, self._expected)

    def _over(self, split: Split, mono_ns: int) -> bool:
        if split.unit == "samples":
            return self.part.samples >= split.amount
        if split.unit == "seconds":
            return (mono_ns - self.part.mono_first_ns) / 1e9 >= split.amount
        return self._pieces.size_bytes >= split.amount

    # --- parts -----------------------------------------------------------------------------------
    def _put_part(self, *, sync: bool = False) -> None:
        """Write the running part down."""
        self.part.details = {
            "pieces": [asdict(p) for p in self._pieces.known],
            "first_seq": self._first_seq,
            "next_seq": self._expected,
            "encoder": self._pieces.encoder_name,
            "seen_seq": self._seen,
        }
        self.parts.put(self.part, sync=sync)

    def _roll(self, position: int, next_seq: int) -> None:
        """End the running part at ``position``; the next one begins when ffmpeg has completed its file."""
        self._roll_to = (position, next_seq)
        self._pieces.finish()

    def _close(self, position: int, next_seq: int) -> bool:
        """Complete the part once ffmpeg has completed its file."""
        if not self._pieces.complete(self._fed):
            return False
        part, self._expected = self.part, next_seq
        part.end, part.state = position, "sealing"
        if self.context.durable:  # it must not be told to be complete before it is so on the disk
            self._index.sync()
            self._pieces.sync()
        self._put_part(sync=self.context.durable)
        self._complete.append(part)
        self._begin_part(part.number + 1, position, next_seq)
        return True

    def _discard(self, behind: int, next_seq: int) -> None:
        """Drop the running part; the next one takes its number."""
        self._discarding = (behind, next_seq)
        self._index.close()
        # Its frames count as samples of the stream. Met again after a kill, the first time told them all.
        discarded = self._path("discarded", behind)
        with suppress(FileNotFoundError):
            if discarded.exists():
                self._index.path.unlink()
            else:
                self._index.sync()
                self._index.path.rename(discarded)
        sync_directory(discarded.parent)  # no loss of power brings it back without its frames
        self._pieces.drop()
        fresh = Part(self.part.number, behind)
        fresh.details = {"pieces": [], "first_seq": next_seq, "next_seq": next_seq, "encoder": None}
        self.parts.put(fresh)
        self._discarding = None
        self._begin_part(fresh.number, behind, next_seq)

    def _end(self) -> bool:
        """Complete the last part, then wait for the finisher."""
        if self.source.damaged or self._expected < self.end_seq:
            self._miss(self.end_seq)
        if self._fed:
            self._roll(self.position, self._expected)
            self.state = "finishing"
            return True
        if self._finishing:
            return False
        # Without a frame nobody has written the file that holds the name's place.
        self.naming.part_path(self.part.number).unlink(missing_ok=True)
        self.state = "finished"
        return True

    def _finish_part(self, part: Part, job: Job) -> None:
        """Join, retime and seal a part; runs in the finisher's thread."""
        final = self.naming.final_path(part.number)
        index = ShotIndex(self._path("frames", part.number))
        self._films.finish(part, final, index, self._retimed, job)

    def retime(self, fps: float) -> None:
        """See :class:`Runner`."""
        self._retimed = as_frame_rate(fps)

    # --- what is told of it ------------------------------------------------------------------------
    def files(self) -> list[dict[str, Any]]:
        """The finished files; each with a table of which sample every frame is."""
        offset_ns = self.context.info["clocks"]["wall_ns"] - self.context.info["clocks"]["mono_ns"]
        out = []
        for file in super().files():
            lines = ShotIndex(self._path("frames", file["part"])).lines()
            public = {k: v for k, v in file.items() if k not in _PRIVATE}
            table = frames_table(lines, offset_ns)
            out.append({**public, "video": {**file.get("video", {}), "frames": table}})
        return out

    def tally(self, resets: Sequence[int]) -> dict[str, Any]:
        """Totals of a stream whose frames never were in the log, those that were discarded included."""
        tally = tally_of(self._indexes(), self.context.schema.payload_bytes, resets)
        return {**tally, "next_seq": max(tally.get("next_seq", 0), self._seen)}

    def missing(self) -> list[Missing]:
        """See :class:`FrameRunner`."""
        return [Missing(at, at, first, behind) for at, first, behind in missing_in(self._indexes())]

    def _indexes(self) -> Iterator[ShotIndex]:
        paths = [self._path("frames", number) for number in {*self.parts.parts, self.part.number}]
        paths += self._discarded_paths()
        return map(ShotIndex, paths)

    # --- checkpoints -------------------------------------------------------------------------------
    def save(self) -> None:
        """Nothing to do: the index and the file itself are the checkpoint."""

    def sync(self) -> None:
        """Make index and part file durable as they are now."""
        self._index.sync()
        self._pieces.sync()
        self.parts.sync()

    def mark(self) -> Sequence[CanSync]:
        """See :class:`Runner`."""
        return [self._index.syncer, *self._pieces.syncers, self.parts.syncer]

    def stop(self) -> None:
        """Let ffmpeg complete its piece by itself; a later worker counts its frames and goes on."""
        self._forget()
        self._pieces.stop()
        self._index.close()
        self.source.close()


def _owned(data: memoryview) -> memoryview:
    """The same bytes in memory of their own."""
    return data if isinstance(data.obj, bytes) else memoryview(bytes(data))
