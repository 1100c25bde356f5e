"""Both distributions hold what they should and nothing else, and each module has one name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Distribution, its directory, and its package in there.
DISTRIBUTIONS = [("recd", ".", "recd"), ("recd_client", "client", "recd_client")]

#: Whether the native ring of this Python serves later ones as well.
STABLE = sys.version_info >= (3, 11) and not sysconfig.get_config_var("Py_GIL_DISABLED")


def sources(package: Path) -> set[str]:
    """What belongs to an installed package: its modules, their types, the mark of typed ones, and the page's files."""
    wanted = {".py", ".pyi", ".typed"}
    return {
        p.relative_to(package.parent).as_posix()
        for p in package.rglob("*")
        if p.suffix in wanted or ("static" in p.parts and p.is_file())
    }


def copied(directory: str, package: str, tmp_path: Path) -> Path:
    """What there is to build from: a whole checkout, for the root."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "setup.py", "MANIFEST.in"):
        if (ROOT / directory / name).exists():
            shutil.copy(ROOT / directory / name, tree)
    for other in ("recd", "client", "tests", "examples", "native", package):
        if (ROOT / directory / other).is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "*.so")
            shutil.copytree(ROOT / directory / other, tree / other, ignore=ignore, dirs_exist_ok=True)
    return tree


def wheel_of(tree: Path, **environment: str) -> tuple[Path, str]:
    """The wheel built from a tree, and what was said meanwhile."""
    command = [sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "--no-build-isolation"]
    built = subprocess.run(
        [*command, "-w", str(tree.parent), str(tree)],
        capture_output=True, text=True, env={**os.environ, **environment},
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tree.parent.glob("*.whl")
    return wheel, built.stdout + built.stderr


def files_in(wheel: Path) -> set[str]:
    """The names of the files in a wheel."""
    return {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}


NO_COMPILER = {"CC": "/bin/false", "RECD_BACKEND": ""}


@pytest.mark.parametrize(("distribution", "directory", "package"), DISTRIBUTIONS)
def test_a_wheel_holds_its_package_and_its_licence_and_nothing_else(
    distribution: str, directory: str, package: str, tmp_path: Path
) -> None:
    """It has exactly the modules, py.typed and the licence: no tests, nothing of the other distribution."""
    wheel, _ = wheel_of(copied(directory, package, tmp_path), **NO_COMPILER)
    files = files_in(wheel)
    info = {f for f in files if f.split("/")[0].endswith(".dist-info")}
    assert wheel.name.startswith(f"{distribution}-")
    assert files - info == sources(ROOT / directory / package)
    assert f"{package}/py.typed" in files
    assert any(f.endswith("licenses/LICENSE") for f in info)


#: Says which backend an unpacked wheel has, and that it writes.
USE = """
import sys
sys.path.insert(0, sys.argv[1])
import recd_client
from recd_client import backend, layout, segment
assert recd_client.__file__.startswith(sys.argv[1])
memory = bytearray(layout.segment_bytes(layout.MIN_CAPACITY_BYTES))
segment.format_segment(memory, capacity_bytes=layout.MIN_CAPACITY_BYTES)
producer, consumer = backend.RingProducer(memory), backend.RingConsumer(memory)
producer.reserve(64)
producer.publish(64, 0, 0.0, 0, 0)
print(recd_client.BACKEND, consumer.head())
"""


def used(wheel: Path) -> str:
    """What the unpacked wheel says of itself."""
    unpacked = wheel.parent / "unpacked"
    zipfile.ZipFile(wheel).extractall(unpacked)
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "RECD_BACKEND")}
    ran = subprocess.run([sys.executable, "-c", USE, str(unpacked)], capture_output=True, text=True, env=env)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.requires("gcc", "native")
def test_with_a_compiler_a_wheel_has_the_native_ring(tmp_path: Path) -> None:
    """It is for this platform and, from CPython 3.11 on, for every later version; and it is used."""
    wheel, _ = wheel_of(copied("client", "recd_client", tmp_path))
    (library,) = (f for f in files_in(wheel) if f.endswith(".so"))
    assert library.startswith("recd_client/_ring.")
    assert "-none-any" not in wheel.name
    if STABLE:
        assert "-cp311-abi3-" in wheel.name
        assert library == "recd_client/_ring.abi3.so"
    assert used(wheel) == "native 64"


def test_without_a_compiler_a_wheel_says_so_in_one_line_and_works(tmp_path: Path) -> None:
    """The build succeeds, names what is missing, and what it made records with the ring in Python."""
    wheel, said = wheel_of(copied("client", "recd_client", tmp_path), **NO_COMPILER)
    (line,) = (line for line in said.splitlines() if "no native ring" in line)
    assert "the pure-Python one will be used" in line
    assert not any(f.endswith(".so") for f in files_in(wheel))
    assert used(wheel) == "python 64"


def test_a_source_distribution_holds_what_the_native_ring_is_built_from(tmp_path: Path) -> None:
    """Whoever installs from it can compile: the C file and every header."""
    tree = copied("client", "recd_client", tmp_path)
    command = [sys.executable, "-c", "from setuptools import build_meta as b; print(b.build_sdist('..'))"]
    built = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    with tarfile.open(tmp_path / built.stdout.splitlines()[-1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    native = {f"native/{p.name}" for p in (ROOT / "client/native").iterdir()}
    assert native | {"setup.py", "pyproject.toml"} <= names


@pytest.mark.parametrize("name", ["client", "tests", "examples", "scripts"])
def test_a_directory_of_the_checkout_is_no_module(name: str, tmp_path: Path) -> None:
    """From anywhere else, ``import client`` fails: no module has a second spelling through the repository."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    ran = subprocess.run(
        [sys.executable, "-c", f"import {name}"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert ran.returncode != 0
    assert f"No module named '{name}'" in ran.stderr


def test_both_distributions_carry_the_same_licence() -> None:
    """The copy in client/, which its own wheel needs, equals the one in the root."""
    assert (ROOT / "client/LICENSE").read_text() == (ROOT / "LICENSE").read_text()
