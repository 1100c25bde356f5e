"""A recorder of your own beside recd's: it counts contacts while they are recorded.

Run it with ``python examples/custom_sink.py``. The class is named, not sent: recd imports this very file, which is why
the simulation stands behind ``if __name__ == "__main__"``.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from recd_client import CSVFile, CustomSink, Recorder, Schema, Sink

DT = 0.01  # s


class ContactCount(Sink):
    """Counts, for each foot, how often it touched down; a JSON file at the end.

    Parameters
    ----------
    threshold : float, N
        Force from which on a foot stands.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def open(self, schema: Schema) -> None:
        """Go on where the last `sync` was, if this is not the beginning."""
        (force,) = (f for f in schema.fields if f.name == "force")
        feet = force.shape[0]
        self.count, self.stood = map(np.array, self.state or ([0] * feet, [False] * feet))

    def write(self, batch: np.ndarray) -> None:
        """Count: ``batch["force"]`` is (n, feet) float64, N."""
        stands = np.vstack([self.stood, batch["force"] > self.threshold])
        self.count += np.sum(stands[1:] & ~stands[:-1], axis=0)
        self.stood = stands[-1]

    def sync(self) -> object:
        """What is to be known if this process dies."""
        return self.count.tolist(), self.stood.tolist()

    def close(self) -> None:
        """Write the file; recd gives it its final name."""
        assert self.filename is not None
        self.filename.write_text(json.dumps({"touchdowns": self.count.tolist()}))


def main() -> None:
    """Simulate and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000, help=f"of {DT} s each (default: 1000)")
    parser.add_argument("--dir", help="where the files go (default: recordings/feet/<time>)")
    args = parser.parse_args()

    phase = np.array([0.0, np.pi])
    with Recorder("feet", dir=args.dir, dt=DT) as rec:
        contacts = CustomSink("custom_sink:ContactCount", filename="touchdowns.json", threshold=20.0)
        feet = rec.stream("feet", CSVFile("feet.csv"), contacts, units={"force": "N"})
        for step in range(args.steps):
            force = 300 * np.clip(np.sin(2 * np.pi * 1.5 * step * DT + phase), 0, None)
            feet.write({"force": force}, t=step * DT)
        print(f"recorded in {rec.directory}")


if __name__ == "__main__":
    main()
