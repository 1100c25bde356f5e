"""Both distributions hold what they should and nothing else, and each module has one name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Distribution, its directory, and its package in there.
DISTRIBUTIONS = [("recd", ".", "recd"), ("recd_client", "client", "recd_client")]


def sources(package: Path) -> set[str]:
    """What belongs to an installed package: its modules and the mark of typed ones."""
    return {
        p.relative_to(package.parent).as_posix() for p in package.rglob("*") if p.suffix in {".py", ".typed"}
    }


@pytest.mark.parametrize(("distribution", "directory", "package"), DISTRIBUTIONS)
def test_a_wheel_holds_its_package_and_its_licence_and_nothing_else(
    distribution: str, directory: str, package: str, tmp_path: Path
) -> None:
    """It has exactly the modules, py.typed and the licence: no tests, nothing of the other distribution."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / directory / name, tree)
    for other in ("recd", "client", "tests", "examples", package):  # a whole checkout, for the root
        if (ROOT / directory / other).is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "*.so")
            shutil.copytree(ROOT / directory / other, tree / other, ignore=ignore, dirs_exist_ok=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    built = subprocess.run([*command, "-w", str(tmp_path), str(tree)], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr

    wheel = next(tmp_path.glob("*.whl"))
    files = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    info = {f for f in files if f.split("/")[0].endswith(".dist-info")}
    assert wheel.name.startswith(f"{distribution}-")
    assert files - info == sources(ROOT / directory / package)
    assert f"{package}/py.typed" in files
    assert any(f.endswith("licenses/LICENSE") for f in info)


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
