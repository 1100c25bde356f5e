"""Taps that poll: ``tap_poller.py STREAM`` looks 60 times per second while it is told ``go``, until ``stop``.

It answers each word with ``ok``, and at the end of its input with the number of samples that it saw.
"""

from __future__ import annotations

import sys
import threading
import time

from recd.cli._common import connect
from recd.taps.stream import StreamTap, find, live_streams

PERIOD_S = 1 / 60


def main(stream: str) -> None:
    """Poll as told."""
    caller = connect()
    live = find(stream, live_streams(caller.call("status")["sessions"]))
    caller.close()
    going, over = threading.Event(), threading.Event()
    seen = 0

    def poll() -> None:
        nonlocal seen
        with StreamTap(live) as tap:
            while not over.is_set():
                if going.wait(0.1):
                    seen += len(tap.take())
                    time.sleep(PERIOD_S)

    looking = threading.Thread(target=poll)
    looking.start()
    print("ok", flush=True)
    for word in sys.stdin:
        going.set() if word == "go\n" else going.clear()
        print("ok", flush=True)
    over.set()
    looking.join()
    print(seen)


if __name__ == "__main__":
    main(sys.argv[1])
