"""``recd ui`` for tests: it runs for the length of a block, on a free port."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

#: A bound for tests that hang, not a promise about speed.
PATIENCE_S = 60.0


@dataclass
class Served:
    """A ``recd ui`` that runs."""

    process: subprocess.Popen[str]
    url: str

    @property
    def base(self) -> str:
        """The page's address without the token."""
        return self.url.split("/?")[0]

    @property
    def port(self) -> int:
        return int(urlsplit(self.url).port or 0)

    @property
    def token(self) -> str:
        return self.url.split("token=")[1]


@contextmanager
def serving(*arguments: str) -> Iterator[Served]:
    """A server of the test's runtime directory, on a free port."""
    command = [sys.executable, "-m", "recd", "ui", "--port", "0", "--json", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        try:
            assert process.stdout is not None
            told = ""
            while not told.endswith("}\n"):
                line = process.stdout.readline()
                assert line, "recd ui ended"
                told += line
            yield Served(process, json.loads(told)["url"])
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
