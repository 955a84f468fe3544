"""The compiled kernel; everything else is in pyproject.toml.

With REFBILINEAR_PURE=1, and on Windows, the installation is pure NumPy: `refbilinear.fast` then
says so when it is imported, and all else works. Else a kernel that cannot be built is an error.
"""

import os
import platform
import sys
import sysconfig
from glob import glob

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

PURE = os.environ.get("REFBILINEAR_PURE", "") not in ("", "0") or sys.platform == "win32"
STABLE_ABI = platform.python_implementation() == "CPython" and not sysconfig.get_config_var(
    "Py_GIL_DISABLED"
)


class BuildKernel(build_ext):
    """Build the kernel, or say how to do without it."""

    def build_extension(self, ext):
        """Build one extension."""
        try:
            super().build_extension(ext)
        except Exception as error:
            raise CompileError(
                f"refbilinear's kernel could not be compiled ({error}): it needs GCC or Clang and "
                "Python's headers; set REFBILINEAR_PURE=1 to install without it"
            ) from error


def kernel():
    """Return the extension: portable flags only, no contraction, the CPU is asked at import."""
    return Extension(
        "refbilinear._kernel",
        sources=["refbilinear/_kernel.pyx", *sorted(glob("csrc/*.c"))],
        depends=sorted(glob("csrc/*.h")),
        include_dirs=["csrc"],
        libraries=["m"],
        define_macros=[("Py_LIMITED_API", "0x030B0000")] if STABLE_ABI else [],
        py_limited_api=STABLE_ABI,
        extra_compile_args=["-O2", "-std=c11", "-fno-fast-math", "-ffp-contract=off", "-g0"],
    )


setup(
    ext_modules=[] if PURE else [kernel()],
    cmdclass={"build_ext": BuildKernel},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if STABLE_ABI and not PURE else {},
)
