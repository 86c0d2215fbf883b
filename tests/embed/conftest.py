"""The shared library, built once, and programs compiled against it."""

import os
import shutil
import subprocess
import sysconfig

import pytest

from gaugeflow.cli.embed import build_library, compile_flags, link_flags


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """Folder of the library; skips where it cannot be built."""
    pytest.importorskip("cffi", reason="cffi is not installed")
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        pytest.skip("this Python has no shared library")
    folder = tmp_path_factory.mktemp("embed")
    build_library(folder)
    return folder


@pytest.fixture(scope="session")
def host(library):
    """Compile a program and run it: ``host(source, *arguments)`` returns what it printed."""

    def run(
        source, *arguments, compiler="gcc", options=("-std=gnu11", "-O1", "-Wall", "-Werror"), under=(), **variables
    ):
        program = library / source.stem
        flags = [*options, *compile_flags(library), str(source), "-o", str(program)]
        subprocess.run([compiler, *flags, *link_flags(library), "-lm", "-lpthread"], check=True, cwd=library)
        # the search path of programs leads to another Python, or to none
        environment = {**os.environ, "NUMBA_NUM_THREADS": "1", "PATH": os.defpath, **variables}
        done = subprocess.run(
            [*under, str(program), *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            env=environment,
            timeout=1200,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""
        return done.stdout

    return run
