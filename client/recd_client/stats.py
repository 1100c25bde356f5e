"""Counters of a stream, from the words that both sides of its ring keep in shared memory."""

from __future__ import annotations

from typing import Any, Final

from . import layout
from .ring import RingProducer
from .segment import read_error

#: Cause of loss of what is written after somebody outside has stopped the recording; the client alone counts it.
STOPPED: Final = "stopped"

_STATES: Final = {
    layout.CONSUMER_STALLED: "stalled",
    layout.CONSUMER_POISONED: "damaged",
    layout.CONSUMER_FAILED: "failed",
}


def ring_stats(producer: RingProducer, payload_bytes: int) -> dict[str, Any]:
    """What a ring's words say, as described at :meth:`recd_client.Recorder.stats`."""
    word = producer.word
    lost = producer.lost() | {c: word(f"lost_{c}_count") for c in layout.WORKER_CAUSES}
    attempted, lost_total = producer.next_seq, sum(lost.values())
    return {
        "attempted": attempted,
        "written": attempted - lost_total,
        # numbers below durable_seq may be of lost samples: never say more than is sure
        "durable": max(0, min(word("durable_seq"), attempted) - lost_total),
        "skipped": word("skipped"),
        "lost": lost,
        "bytes": payload_bytes,
        "buffered_bytes": max(0, producer.head - word("free_pos")),
        "spooled_bytes": word("spooled_bytes"),
        "blocked_s": word("blocked_ns") * 1e-9,
        "state": _STATES.get(word("consumer_state"), "recording"),
        "reason": read_error(producer.buffer),
    }


def empty_stats(skipped: int, state: str) -> dict[str, Any]:
    """The stats of a stream that never had a sample."""
    return {
        "attempted": 0,
        "written": 0,
        "durable": 0,
        "skipped": skipped,
        "lost": dict.fromkeys(layout.ALL_CAUSES, 0),
        "bytes": 0,
        "buffered_bytes": 0,
        "spooled_bytes": 0,
        "blocked_s": 0.0,
        "state": state,
        "reason": "",
    }
