"""The writer whose ``write`` and ``claim`` are C, as long as what they get is ordinary."""

from __future__ import annotations

from typing import Any

from .clock import Clock
from .native import extension
from .sample import FixedPlan, Plan
from .writer import WriterRules

if extension is None:
    raise ImportError("the native ring was not built", name="recd_client._ring")


class NativeWriter(extension.Writer, WriterRules):
    """As :class:`recd_client.writer.Writer`; what is not ordinary goes there, to ``write_any`` and ``claim_any``."""

    def __init__(self, name: str, producer: Any, plan: Plan, clock: Clock, **options: Any) -> None:
        WriterRules.__init__(self, name, producer, plan, clock, **options)
        fields = plan.for_c if isinstance(plan, FixedPlan) else ()
        bare, size = plan.schema.bare, plan.payload_bytes
        self._set_up(producer, clock, self._gate, fields, bare, size, self._plain)

    @property
    def _lock(self) -> NativeWriter:  # type: ignore[override]
        return self

    def release(self) -> None:
        """Let go of the ring's memory; only after :meth:`close`."""
        with self:
            self._forget_ring()
            WriterRules.release(self)
