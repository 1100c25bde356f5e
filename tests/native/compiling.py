"""Compiling the native core for tests, with whatever watches it."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
#: The sources of the native ring.
NATIVE = ROOT / "client/native"
WATCHED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")


def compiled(source: str, into: Path, *flags: str, headers: Path = NATIVE) -> Path:
    """A program of this directory, built with every warning an error."""
    program = into / Path(source).stem
    every = ("-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-pthread")
    _compile(*every, *flags, f"-I{headers}", str(HERE / source), "-o", str(program))
    return program


def extension(into: Path, *flags: str, sources: Path = NATIVE) -> Path:
    """The Python extension, as it is in a package directory, built for the running Python."""
    library = into / "_ring.abi3.so"
    python = (f"-I{sysconfig.get_path('include')}", "-DPy_LIMITED_API=0x030B0000", "-fPIC", "-shared")
    _compile("-std=c11", "-O1", "-g", *python, *flags, str(sources / "_ring.c"), "-o", str(library))
    return library


#: What must not be missing from ring.h, and what is there instead in a mutant.
MUTANTS = {
    "head relaxed": (
        "store_release(p->base, HEAD, p->head);\n    p->offset += size;",
        "store(p->base, HEAD, p->head);\n    p->offset += size;",
    ),
    "free_pos relaxed": ("load_acquire(p->base, FREE_POS)", "load(p->base, FREE_POS)"),
    "head before the header": (
        "    put_header(p, p->offset, length, DATA,",
        "    store_release(p->base, HEAD, p->head + size);\n    put_header(p, p->offset, length, DATA,",
    ),
    "head before the number": (
        "store_release(p->base, NEXT_SEQ, ++p->next_seq);\n    p->head += size;",
        "p->head += size;\n    store_release(p->base, HEAD, p->head);\n"
        "    store_release(p->base, NEXT_SEQ, ++p->next_seq);",
    ),
    "not announced": ("    store(p->base, INTENT_END, end);\n", ""),
    "a loss behind the lap": ("    p->offset = DATA_OFFSET + p->head % capacity;", "    "),
}


def mutant(name: str, into: Path) -> Path:
    """The sources of the native ring with one thing wrong."""
    sources = into / "mutant"
    shutil.copytree(NATIVE, sources)
    ring, (right, wrong) = sources / "ring.h", MUTANTS[name]
    text = ring.read_text()
    assert right in text, f"the mutant {name!r} no longer knows ring.h"
    ring.write_text(text.replace(right, wrong))
    return sources


def _compile(*arguments: str) -> None:
    done = subprocess.run(["gcc", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
