"""Runs a video: frames from the ring (or the log) to ffmpeg, and what is safe in its file.

A frame keeps its place in the ring or the log until it can be decoded from the part file; ffmpeg holds
some dozens in its own queues. Before a frame is fed, a line of the *index* says which sample it is. So
after the death of worker or encoder the frames that decode tell exactly where to go on: at the record
that the index names next. Each ffmpeg process writes a *piece*; the pieces of a part are joined without
encoding them again when the part is complete.

Phases::

    feeding ──end of part──▶ closing ──ffmpeg has completed its file──▶ feeding, the next part
       ▲                        │
       │                        ▼ ffmpeg died, or a worker before us did
       └── counted ───────── waiting (until ffmpeg is gone; then count what decodes, go back to there)
"""

from __future__ import annotations

import logging
import os
import struct
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np

from recd_client.errors import CodecError, RecdError
from recd_client.options import Split, VideoFile, as_frame_rate
from recd_client.settings import DEFAULT_FPS

from .batch import DISCARD, RESET, Event
from .direct import FrameRunner
from .finisher import Job, JobCancelledError
from .parts import Part, seal
from .runner import SinkContext
from .source import Frame, RecordSource
from .video import codecs, files, pixels
from .video.encoder import Encoder, wait_gone
from .video.settings import VideoSettings

#: A line of the index, written before its frame is fed: where to read again to make this frame, what
#: lies behind that record, and the sample. A repeated frame stands for the lost sample of that number.
_LINE: Final = struct.Struct("<QQQdqQQ")
_LINE_DTYPE: Final = np.dtype(
    [("position", "<u8"), ("behind", "<u8"), ("seq", "<u8"), ("t", "<f8"), ("step", "<i8"),
     ("mono_ns", "<u8"), ("repeated", "<u8")]
)  # fmt: skip
_HUNG_NS: Final = 20_000_000_000
_LOOK_NS: Final = 10_000_000
_MAX_FAILURES: Final = 3
_SLICE_FRAMES: Final = 4

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shot:
    """One frame for ffmpeg: its pixels, and the sample that it stands for."""

    data: memoryview
    seq: int
    repeated: bool


@dataclass
class Piece:
    """One ffmpeg process's file. ``count`` is -1 until the process is gone and its frames are counted."""

    path: str
    first: int
    pid: int = 0
    ticks: int = 0
    count: int = -1


class VideoRunner(FrameRunner):
    """Runs one video file of one stream.

    For a direct track, which sets :attr:`source`'s ring, the frames come straight from the ring; and
    :attr:`note` is told what happens on the timeline, as nobody else sees it there.
    """

    def __init__(self, context: SinkContext, index: int, options: VideoFile, final: Path) -> None:
        super().__init__(context, index, options, final)
        self.video = options
        self.source = RecordSource(context.log_directory)
        self.note: Callable[[Event], None] = lambda event: None
        field = context.schema.fields[0]
        self._dtype, self._shape = np.dtype(field.dtype), field.shape
        self._values = int(np.prod(self._shape))
        self._convert = (
            pixels.ByteConverter(field.shape, field.dtype, options.scale) if options.scale is not None else None
        )
        self._settings = VideoSettings.of(self._shape, options.frame_rate or Fraction(DEFAULT_FPS), options)
        self._frame_bytes = self._settings.frame_bytes
        #: Another rate for the finished files, if one was asked for at the end.
        self._retimed: Fraction | None = None
        self._phase = "feeding"
        self._why = ""
        self._encoder: Encoder | None = None
        self._choice: Job | None = None
        self._counting: Job | None = None
        self._jobs: dict[int, Job] = {}
        self._failures = 0
        self._pieces: list[Piece] = []
        self._first_seq = 0
        self._index_fd = -1
        self._unsafe: deque[int] = deque()  # where to read again for each frame that does not decode yet
        self._acked = self._fed = 0
        self._frame: Frame | None = None  # the one being fed
        self._shot: Shot | None = None  # what is being fed for it
        self._last: Frame | None = None  # the one fed before, in case it must be repeated
        self._expected = 0
        self._roll_to: tuple[int, int] | None = None
        self._progress_ns = self._looked_ns = 0
        self._blocked = False
        self._resume()

    # --- where we are ----------------------------------------------------------------------------
    def _resume(self) -> None:
        """Take up the newest part; if an ffmpeg of an earlier worker still writes, wait for it."""
        parts = self.parts.parts
        newest = parts[max(parts)] if parts else None
        if newest is None:
            self._begin_part(0, 0, 0)
            return
        for part in parts.values():
            if part.state == "sealing":
                self._submit(part)
            elif part.state == "done":
                self._remove_pieces(part)
        if newest.state != "open":
            self._begin_part(newest.number + 1, newest.end, int(newest.details["next_seq"]))
            return
        self.part = newest
        self._pieces = [Piece(**p) for p in newest.details["pieces"]]
        self._first_seq = int(newest.details["first_seq"])
        self._open_index()
        if self._pieces and self._pieces[-1].count < 0:
            self._phase = "waiting"
        counted = sum(p.count for p in self._pieces if p.count >= 0)
        # While an orphan still writes, the index tells what it was given: it is cut when its frames are counted.
        self._go_back(counted, cut=self._phase == "feeding")

    def _begin_part(self, number: int, position: int, first_seq: int) -> None:
        self.part = Part(number, position)
        self._pieces = []
        self._first_seq = first_seq
        self._expected = first_seq
        self.position = position
        self._forget()
        self._fed = self._acked = 0
        self._roll_to = None
        if self._index_fd >= 0:
            os.close(self._index_fd)
            self._index_fd = -1

    def _forget(self) -> None:
        """Let go of every record's memory."""
        self._unsafe.clear()
        self._frame = self._last = None
        self._shot = None

    def _index_path(self, number: int) -> Path:
        return self.context.directory / f"sink{self.index}.frames{number}"

    def _discarded_path(self, behind: int) -> Path:
        return self.context.directory / f"sink{self.index}.discarded{behind:016x}"

    def _open_index(self) -> None:
        self._index_fd = os.open(
            self._index_path(self.part.number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )

    def _index(self, number: int) -> Any:
        """The index of a part as a structured array."""
        return _read_index(self._index_path(number))

    def _go_back(self, frames: int, *, cut: bool) -> None:
        """Go on behind the first ``frames`` frames of the part; ``cut`` forgets the others' lines."""
        lines = self._index(self.part.number)
        if frames < len(lines):
            self.position, self._expected = int(lines["position"][frames]), int(lines["seq"][frames])
        elif len(lines):
            self.position, self._expected = int(lines["behind"][-1]), int(lines["seq"][-1]) + 1
        else:
            self.position, self._expected = self.part.begin, self._first_seq
        self._forget()
        self._fed = self._acked = min(frames, len(lines))
        self.part.samples = int(np.count_nonzero(lines["repeated"][: self._fed] == 0))
        if cut:
            os.ftruncate(self._index_fd, self._fed * _LINE.size)

    @property
    def safe(self) -> int:
        """Every frame of a record before this position decodes from the file."""
        return self._unsafe[0] if self._unsafe else self.position

    @property
    def needed(self) -> int:
        """See :class:`Runner`."""
        return self.safe

    def release(self, position: int) -> None:
        """Keep no view of a record before ``position``: its memory is about to be overwritten."""
        if self._last is not None and self._last.begin < position:
            self._last = _own(self._last)
        if self._frame is not None and self._frame.begin < position:
            self._frame = _own(self._frame)
            if self._shot is not None:
                self._shot = replace(self._shot, data=memoryview(bytes(self._shot.data)))
                if self._encoder is not None:
                    self._encoder.detach()

    @property
    def samples(self) -> int:
        """See :class:`Runner`."""
        return sum(p.samples for p in self.parts.parts.values() if p.number != self.part.number) + (
            self.part.samples
        )

    @property
    def progress(self) -> int:
        """See :class:`Runner`."""
        return self.position + self._acked + sum(j.progress for j in list(self._jobs.values()))

    def waits_for(self) -> int:
        """See :class:`Runner`."""
        return self._encoder.fileno() if self._blocked and self._encoder is not None else -1

    # --- the loop's slice ------------------------------------------------------------------------
    def advance(self, log_end: int) -> bool:
        """See :class:`Runner`."""
        if self.over or self._waiting():
            return False
        did = self._collect_jobs()
        if self.over:
            return did
        try:
            did |= self._look()
            if self._phase == "waiting":
                did |= self._wait_for_piece()
            elif self._phase == "closing":
                did |= self._close_piece()
            elif self._frame is not None or self.position < log_end:
                did |= self._feed(log_end)
            elif self.end_position is not None and self.position >= self.end_position:
                did |= self._end()
        except OSError as e:
            if isinstance(e, RecdError):
                self._fail(e)
            else:
                self._stall(e)
        except Exception as e:
            self._fail(e)
        return did

    def _feed(self, end: int) -> bool:
        """Give ffmpeg frames until it takes no more, a few at a time."""
        did = self._blocked = False
        for _ in range(_SLICE_FRAMES):
            if self._frame is None:
                if self._phase != "feeding" or self.position >= end:
                    break
                self._next(end)
                did = True
                continue
            if self._shot is None:
                self._shot = self._shot_of(self._frame)
                self._write_line(self._shot, self._frame)
            if not self._encoder_takes(self._shot.data, self._frame.begin):
                break
            did = True
            self._expected = self._shot.seq + 1
            if not self._shot.repeated:
                self._taken(self._frame)
            self._shot = None
        return did

    def _next(self, end: int) -> None:
        """Take the next record: an event at once, a frame to be fed."""
        what, behind = self.source.get(self.position, end)
        if isinstance(what, Frame):
            self._frame = what
            return
        self.position = behind
        if what is not None:
            self.note(what)
            label = what.data.get("label")
            whole = what.data.get("fields", {}).get("envs_idx") is None
            if label == RESET and whole and self.video.new_part_on_reset and self._fed:
                self._roll(behind, what.seq)
            elif label == DISCARD:
                self._discard(behind, what.seq)

    def _shot_of(self, frame: Frame) -> Shot:
        """What to feed next for a frame: first one repetition of the last one for each sample that is missing.

        So a lost frame never shifts the ones that follow. Before the first frame of a part (or when the
        last one is gone with its worker) the frame itself stands in.
        """
        if self._expected < frame.seq:
            return Shot(self._bytes_of(self._last or frame), self._expected, True)
        return Shot(self._bytes_of(frame), frame.seq, False)

    def _bytes_of(self, frame: Frame) -> memoryview:
        """The pixels as ffmpeg takes them."""
        if self._convert is None:
            return frame.payload[: self._frame_bytes]
        pixels_in = np.frombuffer(frame.payload, self._dtype, self._values).reshape(self._shape)
        return memoryview(self._convert(pixels_in).data).cast("B")

    def _write_line(self, shot: Shot, f: Frame) -> None:
        line = _LINE.pack(f.begin, f.behind, shot.seq, f.t, f.step, f.mono_ns, shot.repeated)
        if self._index_fd < 0:
            self._open_index()
        os.pwrite(self._index_fd, line, self._fed * _LINE.size)

    def _taken(self, frame: Frame) -> None:
        """ffmpeg has the whole frame."""
        self._last, self._frame = frame, None
        self.position = frame.behind
        if self.part.samples == 0:
            self.part.mono_first_ns = frame.mono_ns
        self.part.samples += 1
        split = self.split
        if split is not None and self._over(split, frame.mono_ns):
            self._roll(self.position, self._expected)

    def _over(self, split: Split, mono_ns: int) -> bool:
        if split.unit == "samples":
            return self.part.samples >= split.amount
        if split.unit == "seconds":
            return (mono_ns - self.part.mono_first_ns) / 1e9 >= split.amount
        return self._file_bytes >= split.amount

    # --- the encoder -----------------------------------------------------------------------------
    def _encoder_takes(self, data: memoryview, begin: int) -> bool:
        """Feed one frame; False when ffmpeg is not ready for (the rest of) it."""
        if self._encoder is None and not self._start_piece():
            return False
        encoder = self._encoder
        if encoder is None:
            return False
        taken = encoder.feed(data)
        if encoder.broken:
            self._lost_encoder()
            return False
        if taken:
            self._unsafe.append(begin)
            self._fed += 1
            self._progress_ns = self.context.now_ns()
        self._blocked = not taken
        return taken

    def _start_piece(self) -> bool:
        """Start an ffmpeg once its codec is known; False while that is being found out."""
        if self._choice is None:
            suffix = self.naming.part_path(self.part.number).suffix
            self._choice = self.context.finisher.submit(lambda job: codecs.choose(self._settings, suffix))
        if not self._choice.done.is_set():
            return False
        if self._choice.error is not None:
            raise self._choice.error
        stem = self.naming.part_path(self.part.number)
        number = len(self._pieces)
        path = stem if number == 0 else stem.with_name(f"{stem.stem}-{number}{stem.suffix}")
        piece = Piece(str(path), self._fed)
        self._pieces.append(piece)
        self._put_part()  # before the process is there: a successor must know of its file
        self._encoder = Encoder(path, self._settings, self._choice.result)
        piece.pid, piece.ticks = self._encoder.pid, self._encoder.ticks
        self._put_part()
        self._progress_ns = self.context.now_ns()
        return True

    def _put_part(self) -> None:
        self.part.details = {
            "pieces": [asdict(p) for p in self._pieces],
            "first_seq": self._first_seq,
            "next_seq": self._expected,
        }
        self.parts.put(self.part)

    def _look(self) -> bool:
        """Now and then: what decodes by now, and whether ffmpeg still lives and moves."""
        now, encoder = self.context.now_ns(), self._encoder
        if encoder is None or now - self._looked_ns < _LOOK_NS:
            return False
        self._looked_ns = now
        confirmed = self._pieces[-1].first + encoder.confirmed()
        did = confirmed > self._acked
        if did:
            self._acked = confirmed
            self._progress_ns = now
            while len(self._unsafe) > self._fed - confirmed:
                self._unsafe.popleft()
        if self._phase == "feeding" and encoder.poll() is not None:
            self._lost_encoder()
            return True
        if (self._blocked or self._phase == "closing") and now - self._progress_ns > _HUNG_NS:
            log.warning("%s: ffmpeg hangs; replacing it", self.naming.final)
            encoder.kill()
        return did

    def _lost_encoder(self) -> None:
        """ffmpeg died: count what decodes, then go on from there in a new piece."""
        encoder = self._encoder
        if encoder is None:
            return
        why = encoder.errors().strip() or f"exit code {encoder.poll()}"
        log.warning("%s: ffmpeg ended early: %s", self.naming.final, why)
        self._why = why
        encoder.kill()
        encoder.close()
        self._encoder = None
        self._blocked = False
        self._phase = "waiting"

    def _wait_for_piece(self) -> bool:
        """The newest piece's ffmpeg is to end by itself; then count its frames and go on behind them."""
        piece = self._pieces[-1]
        if self._counting is None:
            if not wait_gone(piece.pid, piece.ticks, 0):
                return False
            path = Path(piece.path)
            self._counting = self.context.finisher.submit(lambda job: files.count_frames(path))
            return True
        if not self._counting.done.is_set():
            return False
        job, self._counting = self._counting, None
        piece.count = 0 if job.error is not None else int(job.result)
        self._failures = 0 if piece.count else self._failures + 1
        if self._failures >= _MAX_FAILURES:
            raise CodecError(f"ffmpeg fails again and again: {self._why}", "see: recd doctor")
        self._go_back(piece.first + piece.count, cut=True)
        self._put_part()
        self._phase = "feeding"
        return True

    # --- parts -----------------------------------------------------------------------------------
    def _roll(self, position: int, next_seq: int) -> None:
        """End the running part at ``position``; the next one begins when ffmpeg has completed its file."""
        self._roll_to = (position, next_seq)
        self._phase = "closing"
        self._progress_ns = self.context.now_ns()
        if self._encoder is not None:
            self._encoder.finish()

    def _close_piece(self) -> bool:
        """Wait for ffmpeg to complete its file; complete the part, or go back for what is missing in it."""
        if self._encoder is not None:
            code = self._encoder.poll()
            if code is None:
                return False
            count = self._encoder.confirmed()
            if code != 0 or self._pieces[-1].first + count != self._fed:
                self._lost_encoder()
                return True
            self._pieces[-1].count = count
            self._encoder.close()
            self._encoder = None
        if self._roll_to is None:
            raise RuntimeError("closing without a place to roll to")
        position, next_seq = self._roll_to
        part = self.part
        part.end, part.state = position, "sealing"
        self._put_part()
        part.details["next_seq"] = next_seq
        self.parts.put(part)
        self._phase = "feeding"
        self._begin_part(part.number + 1, position, next_seq)
        self._submit(part)
        return True

    def _discard(self, behind: int, next_seq: int) -> None:
        """Drop the running part; the next one takes its number."""
        if self._encoder is not None:
            self._encoder.kill()
            self._encoder.close()
            self._encoder = None
        for piece in self._pieces:
            Path(piece.path).unlink(missing_ok=True)
        self._begin_part(self.part.number, behind, next_seq)
        with suppress(FileNotFoundError):  # no frame was fed; else they still count as samples of the stream
            self._index_path(self.part.number).rename(self._discarded_path(behind))
        self._put_part()

    def _end(self) -> bool:
        """Complete the last part, then wait for the finisher."""
        if self._fed:
            self.state = "finishing"
            self._roll(self.position, self._expected)
            return True
        if self._jobs:
            return False
        # Without a frame nobody has written the file that holds the name's place.
        self.naming.part_path(self.part.number).unlink(missing_ok=True)
        self.state = "finished"
        return True

    def _submit(self, part: Part) -> None:
        self._jobs[part.number] = self.context.finisher.submit(lambda job: self._finish_part(part, job))

    def _finish_part(self, part: Part, job: Job) -> None:
        """Join, retime and seal a part; runs in the finisher's thread."""
        pieces = [Path(p["path"]) for p in part.details["pieces"] if p["count"] > 0]
        final = self.naming.final_path(part.number)
        path, suffix = pieces[0], final.suffix.lower()
        as_it_is = len(pieces) == 1 and self._retimed is None and path.suffix == suffix
        if not as_it_is:
            path = path.with_name(f"{path.stem}-joined{suffix}")
        if not (part.path and Path(part.path).exists() and not path.exists()):
            if not as_it_is:
                files.join(pieces, path, self._retimed or self._settings.fps, self._settings.title)
            part.details["video"] = self._describe(path)
        seal(part, path, final, self.parts, replace=self.context.replace, job=job)
        self._remove_pieces(part, *pieces)

    def _describe(self, path: Path) -> dict[str, Any]:
        """What the manifest says of the video itself."""
        info = files.describe(path)
        right, bottom = self._settings.padding
        return {
            "codec": info.codec,
            "pixel_format": info.pixel_format,
            "width": info.width,
            "height": info.height,
            "padding": {"right": right, "bottom": bottom},
            "fps": float(info.fps),
            "fps_fraction": f"{info.fps.numerator}/{info.fps.denominator}",
            "encoder": self._choice.result if self._choice is not None else None,
        }

    def _remove_pieces(self, part: Part, *more: Path) -> None:
        for path in {*more, *(Path(p["path"]) for p in part.details["pieces"])}:
            path.unlink(missing_ok=True)

    def _collect_jobs(self) -> bool:
        """Look at what the finisher has done."""
        done = [n for n, job in self._jobs.items() if job.done.is_set()]
        for number in done:
            error = self._jobs.pop(number).error
            if error is None or isinstance(error, JobCancelledError):
                continue
            if isinstance(error, OSError) and not isinstance(error, RecdError):
                self._stall(error)
                self._submit(self.parts.parts[number])
            else:
                self._fail(error)
        return bool(done)

    def retime(self, fps: float) -> None:
        """See :class:`Runner`."""
        self._retimed = as_frame_rate(fps)

    # --- what is told of it ------------------------------------------------------------------------
    def files(self) -> list[dict[str, Any]]:
        """The finished files; each with a table of which sample every frame is."""
        out = []
        offset_ns = self.context.info["clocks"]["wall_ns"] - self.context.info["clocks"]["mono_ns"]
        for file in super().files():
            lines = self._index(file["part"])
            repeated = np.flatnonzero(lines["repeated"])
            video = file.pop("video", {})
            for key in ("pieces", "first_seq", "next_seq"):
                file.pop(key, None)
            out.append(
                {
                    **file,
                    "video": {
                        **video,
                        "frames": {
                            "seq": lines["seq"].tolist(),
                            "step": lines["step"].tolist(),
                            "t": lines["t"].tolist(),
                            "wall_ns": (lines["mono_ns"].astype(np.int64) + offset_ns).tolist(),
                            "repeated": repeated.tolist(),
                        },
                    },
                }
            )
        return out

    def tally(self, resets: Sequence[int]) -> dict[str, Any]:
        """Totals of a stream whose frames never were in the log, those that were discarded included.

        Behind the positions in ``resets``, which ascend, time may begin anew.
        """
        paths = [self._index_path(n) for n in self.parts.parts]
        paths += self.context.directory.glob(f"sink{self.index}.discarded*")
        lines = np.concatenate([np.empty(0, _LINE_DTYPE), *map(_read_index, paths)])
        lines = np.sort(lines[lines["repeated"] == 0], order="seq")
        if not len(lines):
            return {"samples": 0}
        t = lines["t"]
        anew = np.diff(np.searchsorted(resets, lines["position"])) > 0
        return {
            "samples": len(lines),
            "bytes": len(lines) * self.context.schema.payload_bytes,
            "next_seq": int(lines["seq"][-1]) + 1,
            "t_first": float(t[0]),
            "t_last": float(t[-1]),
            "step_first": int(lines["step"][0]),
            "step_last": int(lines["step"][-1]),
            "mono_first_ns": int(lines["mono_ns"][0]),
            "mono_last_ns": int(lines["mono_ns"][-1]),
            "backward_times": int(np.count_nonzero((t[1:] < t[:-1]) & ~anew)),
            "nan_times": int(np.count_nonzero(np.isnan(t))),
        }

    @property
    def _file_bytes(self) -> int:
        """Size of the running part's files."""
        return sum(Path(p.path).stat().st_size for p in self._pieces if Path(p.path).exists())

    # --- checkpoints -------------------------------------------------------------------------------
    def save(self) -> None:
        """Nothing to do: the index and the file itself are the checkpoint."""

    def sync(self) -> None:
        """Make index and part file durable as they are now."""
        if self._index_fd >= 0:
            os.fdatasync(self._index_fd)
        for piece in self._pieces:
            if Path(piece.path).exists():
                with open(piece.path, "rb") as f:
                    os.fdatasync(f.fileno())

    def stop(self) -> None:
        """Let ffmpeg complete its piece by itself; a later worker counts its frames and goes on."""
        self._forget()
        if self._encoder is not None:
            self._encoder.finish()
            self._encoder.close()
            self._encoder = None
        if self._index_fd >= 0:
            os.close(self._index_fd)
            self._index_fd = -1
        self.source.close()


def _read_index(path: Path) -> Any:
    """The whole lines of an index as a structured array."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raw = b""
    return np.frombuffer(raw[: len(raw) // _LINE.size * _LINE.size], _LINE_DTYPE)


def _own(frame: Frame) -> Frame:
    """The frame with a copy of its pixels."""
    return replace(frame, payload=memoryview(bytes(frame.payload)))
