"""The two ends of a ring, in C; the interface of :mod:`recd_client.ring`, where everything is explained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from . import layout
from .native import extension
from .segment import ConsumerWords, ProducerWords, impossible_head, mark_payload, read_geometry

if extension is None:
    raise ImportError("the native ring was not built", name="recd_client._ring")

_CODES: Final = {cause: code for code, cause in enumerate(layout.CAUSES)}


class NativeRingProducer(ProducerWords, extension.RingProducer):
    """As :class:`recd_client.ring.RingProducer`."""

    def __init__(self, buffer: Any, doorbell: Callable[[], object] = lambda: None) -> None:
        self.buffer = memoryview(buffer).cast("B")
        geometry = read_geometry(self.buffer)
        self._words = self.buffer[: layout.DATA_OFFSET].cast("Q")
        memory = np.frombuffer(self.buffer, np.uint8)
        super().__init__(memory, doorbell, geometry["capacity_bytes"], geometry["max_record_bytes"])

    def lose(self, cause: str, payload_bytes: int, t: float, mono_ns: int) -> None:
        """Count one DATA attempt that did not go in."""
        self._lose(_CODES[cause], payload_bytes, t, mono_ns)

    def mark(self, label: str, fields: dict[str, Any], t: float, step: int, mono_ns: int) -> bool:
        """Publish an event where it happened; False (and counted) when even the reserve is full."""
        return self._mark(mark_payload(label, fields), t, step, mono_ns)

    def release(self) -> None:
        """Let go of the buffer, so that it can be unmapped."""
        self._release()
        super().release()


class NativeRingConsumer(ConsumerWords, extension.RingConsumer):
    """As :class:`recd_client.ring.RingConsumer`."""

    def __init__(self, buffer: Any, position: int = 0) -> None:
        self.buffer = memoryview(buffer).cast("B")
        geometry = read_geometry(self.buffer)
        self.max_record_bytes = int(geometry["max_record_bytes"])
        self._words = self.buffer[: layout.DATA_OFFSET].cast("Q")
        capacity = geometry["capacity_bytes"]
        self.data = self.buffer[layout.DATA_OFFSET : layout.DATA_OFFSET + capacity]
        self.position = position
        super().__init__(np.frombuffer(self.buffer, np.uint8), capacity, position)

    def head(self) -> int:
        """End of what is published, read once and proved possible."""
        head = self._head()
        if head < 0:
            raise impossible_head(self._odd_head, self._known_head, self.free_position, self.capacity_bytes)
        return head

    def sleep(self, wait: Callable[[float], object], timeout_s: float) -> None:
        """Wait for the doorbell, at most ``timeout_s``; returns at once if something was published."""
        self.announce_sleep()
        if not self.has_news():
            wait(timeout_s)

    def release(self) -> None:
        """Let go of the buffer, so that it can be unmapped."""
        self._release()
        super().release()
