"""Who may import whom, what an import loads, and who may know an offset."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import recd
import recd_client

CLIENT = Path(recd_client.__file__).parent
DAEMON = Path(recd.__file__).parent
#: Packages of the client that are named like the simulator that they adapt to.
ADAPTERS = {"genesis", "gymnasium", "mujoco"}
#: What no import of the client may load, because a simulation would pay for it.
HEAVY = {
    "asyncio", "concurrent", "email", "http", "importlib.metadata", "inspect", "logging", "multiprocessing",
    "pickle", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "unittest", "urllib", "xml",
    "dill", "h5py", "imageio_ffmpeg", "multiprocess", "orjson", "pandas", "rich", "scipy", "torch",
}  # fmt: skip


def sources(package: Path) -> list[Path]:
    """The modules of a package."""
    return sorted(package.rglob("*.py"))


def tree_of(path: Path) -> ast.Module:
    """The parsed module."""
    return ast.parse(path.read_text(), str(path))


def imports_of(path: Path) -> Iterator[str]:
    """Every module that is imported anywhere in a file by its absolute name."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module)


def ask(code: str, *args: str) -> Any:
    """What a fresh interpreter prints as JSON when it runs ``code``."""
    command = [sys.executable, "-c", code, *args]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# --- who imports whom ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sources(CLIENT), ids=lambda p: p.stem)
def test_the_client_imports_only_numpy_posix_ipc_and_the_standard_library(path: Path) -> None:
    """Not even inside a function does the client name another package, the daemon least of all.

    The exceptions are an extra's, what carries code, and each adapter's simulator, which nothing else imports.
    """
    special = {"shm.py": {"posix_ipc"}, "custom_sink.py": {"dill"}}
    allowed = sys.stdlib_module_names | {"numpy", "recd_client"} | special.get(path.name, set())
    adapted = path.parent.name
    if adapted in ADAPTERS:
        allowed |= {adapted}
    assert {name.split(".")[0] for name in imports_of(path)} <= allowed


@pytest.mark.parametrize("path", [p for p in sources(CLIENT) if p.parent == CLIENT], ids=lambda p: p.stem)
def test_nothing_in_the_client_needs_an_adapter(path: Path) -> None:
    """No module outside them imports an adapter to a simulator, by whatever name."""
    named = {
        str(name)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ImportFrom) and node.level
        for name in (node.module, *(alias.name for alias in node.names))
    }
    assert not named & ADAPTERS


def test_only_the_module_for_shared_memory_imports_posix_ipc() -> None:
    """In both packages there is one place that names segments and semaphores."""
    paths = [*sources(CLIENT), *sources(DAEMON)]
    assert [path.name for path in paths if "posix_ipc" in imports_of(path)] == ["shm.py"]


@pytest.mark.parametrize("path", sources(DAEMON), ids=lambda p: p.stem)
def test_nothing_uses_the_standard_librarys_shared_memory(path: Path) -> None:
    """Its resource tracker unlinks other processes' memory at exit."""
    assert not {"multiprocessing.shared_memory", "multiprocessing.resource_tracker"} & {*imports_of(path)}


# --- what an import loads -----------------------------------------------------------------------------

LOADED_BY_CLIENT = """
import json, sys
import numpy, posix_ipc
basis = set(sys.modules)
import recd_client
from recd_client import *  # all that is public, although names are loaded when they are first used
assert {"recd_client.recorder", "recd_client.ring"} <= set(sys.modules)
print(json.dumps(sorted(set(sys.modules) - basis)))
"""


def test_importing_the_client_loads_nothing_but_its_dependencies() -> None:
    """Beyond numpy and posix_ipc, an import loads the client itself and parts of the standard library."""
    loaded = ask(LOADED_BY_CLIENT)
    foreign = {name.split(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert foreign == {"recd_client"}


def test_importing_the_client_loads_nothing_heavy() -> None:
    """What a simulation may never need (processes, sockets, logging, ...) is not loaded by an import."""
    loaded = ask(LOADED_BY_CLIENT)
    assert not HEAVY & {*loaded, *(name.split(".")[0] for name in loaded)}


WITHOUT_POSIX_IPC = """
import importlib, json, pkgutil, sys
sys.modules["posix_ipc"] = None  # as on a platform where it cannot be installed
import recd_client
for module in pkgutil.iter_modules(recd_client.__path__):
    try:
        importlib.import_module(f"recd_client.{module.name}")
    except recd_client.MissingLibraryError:
        pass  # an adapter to a simulator that is not installed
    except ImportError as e:
        assert e.name == "recd_client._ring", module.name  # there is no compiler everywhere
try:
    recd_client.Recorder("walk", dir=sys.argv[1])
except recd_client.UnsupportedPlatformError as e:
    print(json.dumps([e.what, e.do]))
"""


def test_without_posix_ipc_the_import_works_and_the_recorder_says_what_is_missing(tmp_path: Path) -> None:
    """Code that only may record is importable everywhere; recording itself fails with a clear error."""
    what, do = ask(WITHOUT_POSIX_IPC, str(tmp_path))
    assert "posix_ipc" in what
    assert do
    assert not [*tmp_path.iterdir()]


# --- who knows an offset ------------------------------------------------------------------------------

USERS_OF_LAYOUT = [
    path
    for path in sources(CLIENT)
    if any(
        isinstance(node, ast.ImportFrom) and any(alias.name == "layout" for alias in node.names)
        for node in ast.walk(tree_of(path))
    )
]


def test_the_modules_that_touch_shared_memory_are_found() -> None:
    """The tests below look where the bytes are handled."""
    assert {"ring.py", "records.py", "shm.py"} <= {path.name for path in USERS_OF_LAYOUT}


@pytest.mark.parametrize("path", USERS_OF_LAYOUT, ids=lambda p: p.stem)
def test_no_other_module_describes_bytes_of_shared_memory(path: Path) -> None:
    """Formats of structs stand in the layout alone: who uses it packs nothing by a format of its own."""
    assert "struct" not in imports_of(path)
    calls = {n.attr for n in ast.walk(tree_of(path)) if isinstance(n, ast.Attribute)}
    assert not {"from_bytes", "to_bytes"} & calls


@pytest.mark.parametrize("path", USERS_OF_LAYOUT, ids=lambda p: p.stem)
def test_no_other_module_counts_bytes_of_shared_memory(path: Path) -> None:
    """Places are taken by name: no subscript holds a number beyond the size of a word."""
    numbers = {
        node.value
        for subscript in ast.walk(tree_of(path))
        if isinstance(subscript, ast.Subscript)
        for node in ast.walk(subscript.slice)
        if isinstance(node, ast.Constant) and isinstance(node.value, int)
    }
    assert all(number <= 8 for number in numbers)


WITH_A_MOVED_LAYOUT = """
import ast, importlib.util, json, sys, types

class Move(ast.NodeTransformer):
    # Larger pages, and a new word before all others in each of them.
    def visit_AnnAssign(self, node):
        name = getattr(node.target, "id", None)
        if name == "PAGE_BYTES":
            node.value = ast.Constant(8192)
        elif name in ("_PRODUCER_FIELDS", "_CONSUMER_FIELDS"):
            new = ast.parse(f"('moved{name}', LINE_BYTES)", mode="eval").body
            node.value.elts.insert(0, new)
        return node

spec = importlib.util.find_spec("recd_client.layout")
layout = types.ModuleType(spec.name)
layout.__package__, layout.__file__ = "recd_client", spec.origin
for name in [m for m in sys.modules if m.split(".")[0] == "recd_client"]:
    del sys.modules[name]
sys.modules[spec.name] = layout
tree = ast.fix_missing_locations(Move().visit(ast.parse(open(spec.origin).read())))
exec(compile(tree, spec.origin, "exec"), layout.__dict__)

sys.path.insert(0, sys.argv[1])
from recd_client import ring, shm, stats
from rings import DATA, fill, published, put, taken
assert ring.layout is layout

segment = shm.Segment.create(sys.argv[2], layout.MIN_CAPACITY_BYTES, {"producer_pid": 7})
other = shm.Segment.open(sys.argv[2])
segment.unlink()
producer, consumer = ring.RingProducer(segment.memory), ring.RingConsumer(other.memory)
kinds, seen = [], []
for lap in range(3):
    fill(producer)
    producer.mark("m", {}, 0.0, 0, 0)
    found = taken(consumer)
    kinds.append([r.kind for r in found])
    seen += [r.seq for r in found if r.kind == DATA]
producer.close(0.0, 0, 0)
kinds.append([r.kind for r in taken(consumer)])
consumer.set_error("fine")
consumer.set_word("consumer_state", layout.CONSUMER_STALLED)
told = stats.ring_stats(producer, 0)
print(json.dumps([layout.PRODUCER["head"], layout.DATA_OFFSET, kinds, seen, told]))
"""


def test_when_the_layout_moves_everything_follows() -> None:
    """With other pages and every word elsewhere, both ends, segments and statistics work unchanged."""
    tests, name = str(Path(__file__).parents[1]), f"/recd-test-{uuid4().hex}"
    head, data, kinds, seen, told = ask(WITH_A_MOVED_LAYOUT, tests, name)
    assert (head, data) == (8192 + 64, 3 * 8192)
    assert [lap[-2:] for lap in kinds] == [[2, 4], [2, 4], [2, 4], [5]]
    assert len(seen) == sum(lap.count(1) for lap in kinds) == told["attempted"] - 3
    assert seen == sorted(set(seen))
    assert (told["lost"]["full"], told["reason"], told["state"]) == (3, "fine", "stalled")
