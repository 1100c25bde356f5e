"""The ends of a ring as this process uses them: native where that was built, else pure Python."""

from typing import TYPE_CHECKING

from .native import extension

if TYPE_CHECKING or extension is None:
    from .ring import RingConsumer, RingProducer
    from .writer import Writer
else:
    from .ring_native import NativeRingConsumer as RingConsumer
    from .ring_native import NativeRingProducer as RingProducer
    from .writer_native import NativeWriter as Writer

__all__ = ["RingConsumer", "RingProducer", "Writer"]
