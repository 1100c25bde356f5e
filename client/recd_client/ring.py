"""The two ends of a ring, over any writable buffer; knows nothing of shared memory.

:class:`RingProducer` publishes records, :class:`RingConsumer` reads them. The bytes are described in
:mod:`recd_client.layout`. This is the pure-Python backend: an aligned 8-byte store through a
``memoryview`` of format ``Q`` is one machine store, and x86 keeps the order of stores, so payload,
header, ``head`` is the right order without a fence. (Protocol: single-producer ring with a claim and
one commit word, after Aeron's and LTTng's ring buffers.)
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from . import layout
from .segment import ConsumerWords, ProducerWords, impossible_head, mark_payload, read_geometry

_HEAD: Final = layout.PRODUCER["head"] // 8
_INTENT: Final = layout.PRODUCER["intent_end"] // 8
_NEXT_SEQ: Final = layout.PRODUCER["next_seq"] // 8
_RUNG: Final = layout.PRODUCER["rung_ticket"] // 8
_PRODUCER_STATE: Final = layout.PRODUCER["producer_state"] // 8
_MARKS_LOST: Final = layout.PRODUCER["marks_lost"] // 8
_LOST: Final = {c: layout.PRODUCER[f"lost_{c}_count"] // 8 for c in layout.CAUSES}
_FREE: Final = layout.CONSUMER["free_pos"] // 8
_SLEEP: Final = layout.CONSUMER["sleep_ticket"] // 8
_CODES: Final = {c: code for code, c in enumerate(layout.CAUSES)}

_fence_lock: Final = threading.Lock()


def _lock_fence() -> None:
    # Once is a one-way barrier from each side, which may meet in the middle; twice lets nothing pass.
    with _fence_lock:
        pass
    with _fence_lock:
        pass


#: None where the machine keeps the order of stores; on weaker ones a lock is the fence.
_FENCE: Final[Callable[[], object] | None] = (
    None if hasattr(os, "uname") and os.uname().machine in ("x86_64", "i686") else _lock_fence
)


def fence() -> None:
    """Let no load or store pass this place, where the machine does not keep their order by itself."""
    if _FENCE is not None:
        _FENCE()


def _nothing() -> None:
    """The doorbell of a ring without a sleeper."""


class _Loss(NamedTuple):
    """What one cause took since the last LOSS record; with the cause's code, a ``layout.LOSS_ENTRY``."""

    first_seq: int
    last_seq: int
    samples: int
    payload_bytes: int
    t_first: float
    t_last: float
    mono_first_ns: int
    mono_last_ns: int


class RingProducer(ProducerWords):
    """Publishes records into a ring; one per ring, in one process, one call at a time.

    Parameters
    ----------
    buffer : writable buffer
        The whole segment: geometry, producer and consumer page, data area.
    doorbell : callable, optional
        Wakes the consumer; called at most once per consumer sleep, at half full, and by
        :meth:`ring_doorbell`.
    """

    def __init__(self, buffer: Any, doorbell: Callable[[], object] = _nothing) -> None:
        self.buffer = memoryview(buffer).cast("B")
        geometry = read_geometry(self.buffer)
        self.capacity_bytes = int(geometry["capacity_bytes"])
        self.max_record_bytes = int(geometry["max_record_bytes"])
        self._words = self.buffer[: layout.DATA_OFFSET].cast("Q")
        self._doorbell = doorbell
        words = self._words
        self.head: int = words[_HEAD]
        self.next_seq: int = words[_NEXT_SEQ]
        self._rung = words[_RUNG]
        #: Up to this position a DATA record may end without looking at anything else: the end of
        #: the lap, half full, and pending loss records all lie behind it.
        self._fast_end = 0
        self._offset: int = layout.DATA_OFFSET + self.head % self.capacity_bytes
        self._half_rung = False
        self._pending: dict[int, _Loss] = {}
        words[_PRODUCER_STATE] = layout.PRODUCER_OPEN

    # --- space -------------------------------------------------------------------------------------
    def reserve(self, size: int) -> int:
        """Place of a DATA record of ``size`` bytes (header included) in the buffer, or -1 when full.

        Announces the reservation in ``intent_end``; follow with :meth:`publish` or :meth:`abort`.
        PAD and a due LOSS record are published on the way.
        """
        end = self.head + size
        if end > self._fast_end:
            if not self._make_room(size, layout.CONTROL_RESERVE_BYTES):
                return -1
            end = self.head + size
        self._words[_INTENT] = end
        if _FENCE is not None:
            _FENCE()
        return self._offset

    def publish(self, size: int, payload_bytes: int, t: float, step: int, mono_ns: int) -> None:
        """Commit the DATA record whose payload now lies in the reserved place; takes the next seq."""
        head, offset, seq = self.head, self._offset, self.next_seq
        body = _PACK(_MAGIC, head, seq, payload_bytes, _DATA, 0, t, step, mono_ns, 0)
        _SEAL(self.buffer, offset, _crc32(body), body)
        if _FENCE is not None:
            _FENCE()
        words = self._words
        # next_seq before head: a kill in between shows one attempt in flight, never a number twice
        words[_NEXT_SEQ] = self.next_seq = seq + 1
        words[_HEAD] = self.head = head + size
        self._offset = offset + size
        if words[_SLEEP] != self._rung:
            self.ring_doorbell()

    def abort(self) -> None:
        """Give a reservation back; nothing was published and no number taken."""
        self._words[_INTENT] = self.head

    def resync(self) -> None:
        """Make the ring whole after an exception anywhere in it: what the words say is what happened."""
        words = self._words
        self.head = words[_INTENT] = words[_HEAD]
        self.next_seq = words[_NEXT_SEQ]
        self._fast_end = 0  # the next reservation finds its place anew

    def recover(self, seq: int, payload_bytes: int, t: float, mono_ns: int) -> bool:
        """Make the ring whole after an exception anywhere in a write that began at ``next_seq == seq``.

        True if that attempt is accounted for already; otherwise its reservation is given back and it
        is counted as lost, ``interrupted``.
        """
        words = self._words
        done = words[_NEXT_SEQ] != seq and words[_HEAD] == words[_INTENT]
        if not done:  # a number that was taken but whose record was not committed is given again
            words[_NEXT_SEQ] = seq
        self.resync()
        if not done:
            self.lose("interrupted", payload_bytes, t, mono_ns)
        return done

    def _make_room(self, size: int, reserve: int) -> bool:
        """Bring the head to where a record of ``size`` bytes fits unbroken; False when full.

        The slow path of every reservation: end of lap, half full, loss to tell, ring full.
        """
        capacity = self.capacity_bytes
        free = self._words[_FREE]
        # All of it is one reservation: the loss, the padding, the record.
        loss = self._loss_bytes() if reserve else 0
        need = loss + size
        left = capacity - self.head % capacity
        pad = left if need > left else 0
        if self.head + pad + need > free + capacity - reserve:
            self._wake()
            return False
        if pad:
            self._publish_pad(left)
        if loss:
            self._publish_loss()
        lap_offset = self.head % capacity
        self._offset = layout.DATA_OFFSET + lap_offset
        lap_end = self.head - lap_offset + capacity
        half = free + capacity // 2
        if self.head + size <= half:
            self._half_rung = False
            self._fast_end = min(lap_end, half)
        else:
            if not self._half_rung:
                self._half_rung = True
                self.ring_doorbell()
            self._fast_end = min(lap_end, free + capacity - layout.CONTROL_RESERVE_BYTES)
        return True

    def _publish_pad(self, length: int) -> None:
        self._publish_control(layout.PAD, b"", length, 0.0, 0, 0)

    def _publish_control(
        self, kind: int, payload: bytes, size: int, t: float, step: int, mono_ns: int
    ) -> None:
        """One record that takes no number; the caller has made room."""
        head = self.head
        offset = layout.DATA_OFFSET + head % self.capacity_bytes
        self._words[_INTENT] = head + size
        if _FENCE is not None:
            _FENCE()
        length = size - layout.HEADER_BYTES if kind == layout.PAD else len(payload)
        body = _PACK(_MAGIC, head, self.next_seq, length, kind, 0, t, step, mono_ns, 0)
        self.buffer[offset + layout.HEADER_BYTES : offset + layout.HEADER_BYTES + len(payload)] = payload
        _SEAL(self.buffer, offset, _crc32(body), body)
        if _FENCE is not None:
            _FENCE()
        end = head + size
        pending = {} if kind in _TELLS_LOSS else self._pending
        # One statement: no signal handler runs between the commit and forgetting what it told.
        self._words[_HEAD], self.head, self._pending = end, end, pending
        self._offset = layout.DATA_OFFSET + end % self.capacity_bytes

    # --- loss --------------------------------------------------------------------------------------
    def lose(self, cause: str, payload_bytes: int, t: float, mono_ns: int) -> None:
        """Count one DATA attempt that did not go in: it takes a number, and its gap will be told."""
        words, pending, at, code, seq = self._words, self._pending, _LOST[cause], _CODES[cause], self.next_seq
        first = pending.get(code, _Loss(seq, seq, 0, 0, t, t, mono_ns, mono_ns))
        loss = _Loss(
            first.first_seq, seq, first.samples + 1, first.payload_bytes + payload_bytes,
            first.t_first, t, first.mono_first_ns, mono_ns,
        )  # fmt: skip
        count, size, after = words[at] + 1, words[at + 1] + payload_bytes, seq + 1
        self._fast_end = 0  # the next record must be preceded by the LOSS
        words[_INTENT] = self.head
        # One statement without a call: a signal handler runs before all of it or after all of it.
        words[_NEXT_SEQ], words[at], words[at + 1], pending[code] = after, count, size, loss
        self.next_seq = after

    def _loss_payload(self) -> bytes:
        return b"".join(layout.LOSS_ENTRY.pack(code, *loss) for code, loss in sorted(self._pending.items()))

    def _loss_bytes(self) -> int:
        return layout.record_bytes(len(self._pending) * layout.LOSS_ENTRY.size) if self._pending else 0

    def _publish_loss(self) -> None:
        payload = self._loss_payload()
        last = max(self._pending.values(), key=lambda loss: loss.last_seq)
        size = layout.record_bytes(len(payload))
        self._publish_control(layout.LOSS, payload, size, last.t_last, 0, last.mono_last_ns)

    # --- the timeline ------------------------------------------------------------------------------
    def mark(self, label: str, fields: dict[str, Any], t: float, step: int, mono_ns: int) -> bool:
        """Publish an event where it happened; False (and counted) when even the reserve is full.

        Raises
        ------
        RecordTooLargeError
            Label and fields take more than ``layout.MAX_MARK_BYTES`` bytes as JSON.
        """
        payload = mark_payload(label, fields)
        size = layout.record_bytes(len(payload))
        # The close must still fit behind the last mark that uses the reserve.
        if not self._make_room(size, layout.record_bytes(layout.MAX_MARK_BYTES)):
            self._words[_MARKS_LOST] += 1
            return False
        self._publish_control(layout.MARK, payload, size, t, step, mono_ns)
        self._wake()
        return True

    def close(self, t: float, step: int, mono_ns: int) -> None:
        """Publish the CLOSE record with the losses not told yet; nothing may follow."""
        prefix = layout.CLOSE_PREFIX.pack(self.next_seq, self._words[_MARKS_LOST])
        payload = prefix + self._loss_payload()
        size = layout.record_bytes(len(payload))
        if self._make_room(size, 0):
            self._publish_control(layout.CLOSE, payload, size, t, step, mono_ns)
        self._words[_PRODUCER_STATE] = layout.PRODUCER_CLOSED
        self.ring_doorbell()

    def ring_doorbell(self) -> None:
        """Wake the consumer if it sleeps."""
        self._words[_RUNG] = self._rung = self._words[_SLEEP]
        self._doorbell()

    def _wake(self) -> None:
        """Wake the consumer if it has gone to sleep since it was last woken."""
        if self._words[_SLEEP] != self._rung:
            self.ring_doorbell()


class RingConsumer(ConsumerWords):
    """Reads a ring's records and gives their memory back; one per ring.

    ``position`` is where the next record is read, ``free`` moves what the producer may overwrite:
    two things. Neither is ever read back from shared memory.

    Parameters
    ----------
    buffer : writable buffer
        The whole segment.
    position : int
        Where to go on: 0 for a new ring, else the end of what an earlier consumer made safe.
    """

    def __init__(self, buffer: Any, position: int = 0) -> None:
        self.buffer = memoryview(buffer).cast("B")
        geometry = read_geometry(self.buffer)
        self.capacity_bytes = int(geometry["capacity_bytes"])
        self.max_record_bytes = int(geometry["max_record_bytes"])
        self._words = self.buffer[: layout.DATA_OFFSET].cast("Q")
        self.data = self.buffer[layout.DATA_OFFSET : layout.DATA_OFFSET + self.capacity_bytes]
        self.position = position
        self.free_position = position
        self._head = position

    def head(self) -> int:
        """End of what is published, read once and proved possible.

        Raises
        ------
        RingDamagedError
            The word went backwards, is not aligned, or runs more than a lap ahead.
        """
        head = self._words[_HEAD]
        if _FENCE is not None:  # before what it says is published is looked at
            _FENCE()
        if not (self._head <= head <= self.free_position + self.capacity_bytes) or head % layout.ALIGN_BYTES:
            raise impossible_head(head, self._head, self.free_position, self.capacity_bytes)
        self._head = head
        return head

    def free(self, position: int) -> None:
        """Let the producer overwrite everything before ``position``."""
        self.free_position = position
        if _FENCE is not None:  # behind the last look at what is freed
            _FENCE()
        self._words[_FREE] = position

    def sleep(self, wait: Callable[[float], object], timeout_s: float) -> None:
        """Wait for the doorbell, at most ``timeout_s``; returns at once if something was published."""
        self.announce_sleep()
        if self._words[_HEAD] == self._head:
            wait(timeout_s)

    def announce_sleep(self) -> None:
        """Ask for one doorbell at the next publish; look at the head once more before sleeping."""
        self._words[_SLEEP] += 1
        if _FENCE is not None:
            _FENCE()

    def has_news(self) -> bool:
        """Whether anything was published since :meth:`head` was last called (the word is not checked)."""
        return bool(self._words[_HEAD] != self._head)


_PACK: Final = layout.HEADER_BODY.pack
_SEAL: Final = layout.HEADER_SEAL.pack_into
_MAGIC: Final = layout.MAGIC_RECORD
_DATA: Final = layout.DATA
_TELLS_LOSS: Final = (layout.LOSS, layout.CLOSE)
_crc32: Final = zlib.crc32
