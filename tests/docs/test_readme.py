"""The documentation does what it says: its Python runs, and nothing public is missing from it."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import recd_client
from recd_client import Recorder, SinkOptions, Stream
from recordings import PATIENCE_S

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "recording.md"
#: In front of a block of Python that is not to be run, with the reason.
NO_TEST = "<!-- no-test"
#: What examples may need beyond recd itself.
OPTIONAL = ("gymnasium", "mujoco")
#: In front of one that is a module: the others of its document can import it.
_MODULE = re.compile(r"`(\w+\.py)`:")
#: In front of one that needs more than it imports.
_NEEDS = re.compile(r"<!-- needs: (.*) -->")
_BLOCK = re.compile(r"^([^\n]*)\n+```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def documents() -> list[Path]:
    """Everything that users read."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks() -> Iterator[Any]:
    """Every block of Python that is to be run, as a parameter named by its document and line."""
    for path in documents():
        text = path.read_text()
        modules = {name[1]: b[2] for b in _BLOCK.finditer("\n" + text) if (name := _MODULE.fullmatch(b[1]))}
        for found in _BLOCK.finditer("\n" + text):
            if not found[1].startswith(NO_TEST):
                line = text.count("\n", 0, found.start(2) - 1) + 1
                needs = [name for name in OPTIONAL if re.search(rf"^import {name}$", found[2], re.MULTILINE)]
                if told := _NEEDS.fullmatch(found[1]):
                    needs += told[1].split(", ")
                marks = [pytest.mark.requires(*needs)] if needs else []
                where = f"{path.relative_to(ROOT)}:{line}"
                yield pytest.param(found[2], modules, id=where, marks=marks)


@pytest.mark.usefixtures("shared_runtime")
@pytest.mark.parametrize(("code", "modules"), [*blocks()])
def test_the_python_in_the_documentation_runs(tmp_path: Path, code: str, modules: dict[str, str]) -> None:
    """Each block is a program: it runs by itself in an empty directory, and says nothing on stderr."""
    for name, text in modules.items():
        (tmp_path / name).write_text(text)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""


def public_methods(of: type) -> list[str]:
    """Names of what users may call or read of a class."""
    return [name for name in vars(of) if not name.startswith("_")]


def options_of(kind: type[SinkOptions]) -> list[str]:
    """The options of a kind of file."""
    return [f.name for f in dataclasses.fields(kind) if f.init]


@pytest.mark.parametrize("name", recd_client.__all__)
def test_every_public_name_explains_itself(name: str) -> None:
    """It has a docstring of its own (or, for a value, stands in the module's source with a comment)."""
    thing = getattr(recd_client, name)
    if isinstance(thing, str):
        return
    assert inspect.getdoc(thing), name
    if inspect.isclass(thing):
        assert "__doc__" in vars(thing), f"{name} only inherits its docstring"
        for method, value in vars(thing).items():
            if not method.startswith("_") and (callable(value) or isinstance(value, property)):
                assert inspect.getdoc(value), f"{name}.{method}"


# --- the guide ------------------------------------------------------------------------------------


def sections() -> dict[str, str]:
    """The text of each heading of the guide, up to the next one."""
    parts = re.split(r"^##+ (.+)\n", GUIDE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(section: str) -> set[str]:
    """The names that stand in the first column of a section's tables."""
    first = re.findall(r"^\| ([^|]+) \|", sections()[section], re.MULTILINE)
    return {name for cell in first for name in re.findall(r"`(\w+)", cell)}


def parameters(function: Any) -> set[str]:
    """What a function takes by name."""
    named = inspect.signature(function).parameters.values()
    return {p.name for p in named if p.kind is not p.VAR_POSITIONAL} - {"self"}


def test_the_guide_has_every_argument_and_method_of_the_recorder() -> None:
    """Its tables name exactly what there is."""
    assert rows("Recorder") == parameters(Recorder.__init__) | {*public_methods(Recorder)}


#: What the recorder uses of its streams.
NOT_FOR_USERS = {
    "attach", "end", "follow_pause", "follow_stop", "is_open", "is_paused", "is_video", "mark", "release",
    "restart_gate", "ring",
}  # fmt: skip


def test_the_guide_has_every_argument_and_method_of_a_stream() -> None:
    """Its tables name exactly what there is for users."""
    methods = {*public_methods(Stream)} - NOT_FOR_USERS
    assert rows("Stream") == (parameters(Recorder.stream) | methods)


@pytest.mark.parametrize("kind", ["CSVFile", "NPZFile", "HDF5File", "VideoFile", "CustomSink"])
def test_the_guide_has_every_option_of_a_file(kind: str) -> None:
    """The common options stand once for all, the others in the kind's own table, with their defaults."""
    options = getattr(recd_client, kind)
    own = {*options_of(options)} - {*options_of(recd_client.NullSink)}
    tables = sections()[kind].split("\n\n")
    table = next(part for part in tables if part.lstrip().startswith("| option"))
    documented = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert documented == own
    for field in dataclasses.fields(options):
        if field.name in own - {"filename"} and field.default is not dataclasses.MISSING:
            shown = f'"{field.default}"' if isinstance(field.default, str) else str(field.default)
            assert f"| `{field.name}` | `{shown}` |" in table, field.name


@pytest.mark.parametrize("kind", ["MPLLinePlot", "PyQtLinePlot", "MPLImagePlot", "MPLVectorFieldPlot"])
def test_the_guide_to_plots_has_every_option(kind: str) -> None:
    """Those of all plots stand once, the others in the kind's own section, all with their defaults."""
    text = (ROOT / "docs" / "plots.md").read_text()
    documented = dict(re.findall(r"^\| `(\w+)` \|([^|]*)\|", text, re.MULTILINE))
    options = getattr(recd_client, kind)
    for name in {*options_of(options)} - {*options_of(recd_client.NullSink)}:
        default = next(f.default for f in dataclasses.fields(options) if f.name == name)
        shown = "" if name == "positions" else f'"{default}"' if isinstance(default, str) else str(default)
        assert documented[name].strip(" `") == shown, name


def test_the_guide_has_the_common_options() -> None:
    """Those that every kind of file has, with their defaults."""
    assert rows("Files") == {"filename", *options_of(recd_client.NullSink)}
    for field in dataclasses.fields(recd_client.NullSink):
        if field.init:
            assert f"| `{field.name}` | `{field.default}` |" in sections()["Files"]


def test_the_guide_has_every_error() -> None:
    """Each error and warning that the client can raise stands in the table."""
    public = {name for name in recd_client.__all__ if name.endswith(("Error", "Warning", "Timeout"))}
    assert rows("Errors") == public - {"RecdError"}


def test_the_guide_has_every_counter() -> None:
    """What ``stats()`` and a summary tell of a stream is explained."""
    text = sections()["Recorder"]
    for name in recd_client.StreamSummary._fields:
        assert f"`{name}`" in text, name


def test_links_between_documents_lead_somewhere() -> None:
    """Every relative link points to a file that is there, and to a heading in it."""
    for path in documents():
        for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", path.read_text()):
            file = (path.parent / target) if target else path
            assert file.exists(), f"{path.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
                slugs = [re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings]
                assert anchor in slugs, f"{path.name}: {target}#{anchor}"
