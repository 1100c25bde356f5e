"""The native ring, where there is a compiler; without one the install goes on, with one line saying so."""

import sys
import sysconfig
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).parent

#: One build for every later version of Python; not for free-threaded ones, which have no such interface yet.
STABLE = sys.version_info >= (3, 11) and not sysconfig.get_config_var("Py_GIL_DISABLED")


class OptionalExtension(build_ext):
    """Builds the extension if that is possible."""

    def build_extension(self, ext: Any) -> None:
        """Build it, or say why not; recording works without, a write costs a microsecond more."""
        try:
            super().build_extension(ext)
        except Exception as e:
            print(f"recd-client: no native ring ({e}): the pure-Python one will be used", file=sys.stderr)


setup(
    ext_modules=[
        Extension(
            "recd_client._ring",
            ["native/_ring.c"],
            depends=sorted(str(p.relative_to(HERE)) for p in (HERE / "native").glob("*.h")),
            extra_compile_args=["-std=c11", "-O3", "-Wall", "-Wextra", "-Wno-unused-parameter"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")] if STABLE else [],
            py_limited_api=STABLE,
            optional=True,
        )
    ],
    cmdclass={"build_ext": OptionalExtension},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if STABLE else {},
)
