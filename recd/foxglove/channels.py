"""Channels as viewers see them: advertised at once, and silent until somebody subscribes."""

from __future__ import annotations

from typing import Any

from foxglove import Channel, Context, Schema
from foxglove.channels import CompressedImageChannel, LogChannel, RawImageChannel

from .columns import Encoding


class Topics:
    """Names of channels, each given once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, wanted: str) -> str:
        """The name, with a number behind it where it is taken."""
        name, n = wanted, 1
        while name in self._taken:
            n += 1
            name = f"{wanted}_{n}"
        self._taken.add(name)
        return name

    def give_back(self, name: str) -> None:
        """The name may be given again."""
        self._taken.discard(name)


class Output:
    """One channel, and who looks at it.

    Parameters
    ----------
    channel
        Of the SDK.

    Attributes
    ----------
    viewers : set of int
        Clients that subscribed.
    sent : int
        Messages that were handed to the SDK; none without a viewer.
    """

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self.id = int(channel.id())
        self.topic = str(channel.topic())
        self.viewers: set[int] = set()
        self.sent = 0
        #: The newest sample is sent, however old it is: somebody subscribed, or it was passed over.
        self.owed = False

    @property
    def wanted(self) -> bool:
        """Whether what is sent now reaches anybody; the SDK tells of a subscription just before it holds."""
        return bool(self.viewers) and bool(self._channel.has_sinks())

    def send(self, message: Any, time_ns: int) -> None:
        """Hand a message over: it goes to each viewer's queue, whose oldest message it may push out."""
        self._channel.log(message, log_time=time_ns)
        self.sent += 1

    def close(self) -> None:
        """Unadvertise it."""
        self._channel.close()


def numbers(context: Context, topic: str, encoding: Encoding, metadata: dict[str, str]) -> Output:
    """A channel of samples."""
    schema = Schema(name=encoding.schema_name, encoding=encoding.schema_encoding, data=encoding.definition)
    return Output(
        Channel(topic, schema=schema, message_encoding=encoding.message, context=context, metadata=metadata)
    )


def pictures(context: Context, topic: str, jpeg: bool, metadata: dict[str, str]) -> Output:
    """A channel of ``foxglove.CompressedImage`` or ``foxglove.RawImage``."""
    kind = CompressedImageChannel if jpeg else RawImageChannel
    return Output(kind(topic, context=context, metadata=metadata))


def log(context: Context, topic: str) -> Output:
    """A channel of ``foxglove.Log``."""
    return Output(LogChannel(topic, context=context))
