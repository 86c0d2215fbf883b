"""``gaugeflow embed``: the shared library and header for C, C++ and Fortran programs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import sysconfig
from contextlib import redirect_stdout
from importlib.resources import files
from io import StringIO
from pathlib import Path

import click

NAME = "gaugeflow"
VERSION_SUFFIX = ".so.1"
"""The ABI's major version: programs that were linked with another one do not load it."""

_SOURCE = """
#include <pthread.h>
#define GF_API __attribute__((visibility("default"))) extern
#include "gaugeflow.h"

#define GF_TEXT_SIZE 2048
static __thread char gf_text_memory[GF_TEXT_SIZE];
static char *gf_text(void) { return gf_text_memory; }
static int gf_text_size(void) { return GF_TEXT_SIZE; }

const char *gf_message(void) { return gf_text_memory; }

/* The Python of the installation that built this library, whatever PATH, PYTHONPATH and PYTHONHOME of the host say. */
static void gf_start_python(void) {
  if (Py_IsInitialized()) return;
  PyPreConfig before;
  PyPreConfig_InitPythonConfig(&before); /* from the environment: how text is encoded and memory allocated */
  before.parse_argv = 0;
  if (PyStatus_Exception(Py_PreInitialize(&before))) return;
  PyConfig config;
  PyConfig_InitPythonConfig(&config);
  config.use_environment = 0;
  config.install_signal_handlers = 0;
  config.parse_argv = 0;
  PyStatus status = PyConfig_SetBytesString(&config, &config.program_name, GF_PYTHON);
  if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
  PyConfig_Clear(&config);
  if (!Py_IsInitialized()) return;
  static const char *const paths[] = {GF_PATHS NULL};
  PyObject *searched = PySys_GetObject("path");
  for (int i = 0; searched && paths[i]; i++) {
    PyObject *path = PyUnicode_DecodeFSDefault(paths[i]);
    if (!path || PyList_Insert(searched, i, path)) PyErr_Print();
    Py_XDECREF(path);
  }
  PyEval_SaveThread();
}

static int gf_started(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, gf_start_python);
  return Py_IsInitialized();
}

static int gf_result(int result) {
  static const char text[] = "the library could not be started; stderr says why";
  if (result >= 1000) return result - 1000;
  memcpy(gf_text_memory, text, sizeof text);
  return GF_NOT_STARTED;
}
"""

_START = f"""
from _{NAME}_embedded import ffi, lib
from gaugeflow.embed.calls import bind
bind(ffi, lib)
"""


@click.command()
@click.option("--build", type=click.Path(path_type=Path, file_okay=False), help="Build into this folder.")
@click.option("--cflags", type=click.Path(path_type=Path, exists=True), help="Print what compiling with it needs.")
@click.option("--libs", type=click.Path(path_type=Path, exists=True), help="Print what linking with it needs.")
def embed(build: Path | None, cflags: Path | None, libs: Path | None) -> None:
    """Build the library by which C, C++ and Fortran programs use gaugeflow.

    The folder gets libgaugeflow.so, gaugeflow.h and gaugeflow.f90. The library runs this installation of Python, with
    the package cffi and the folders that are in PYTHONPATH now; a C compiler ($CC, default cc) is needed to build it only.
    """
    if not (build or cflags or libs):
        raise click.UsageError("expected --build, --cflags or --libs")
    if build is not None:
        click.echo(str(build_library(build)))
    flags = [*compile_flags(cflags)] if cflags else []
    flags += link_flags(libs) if libs else []
    if flags:
        click.echo(shlex.join(flags))


def compile_flags(folder: Path) -> list[str]:
    """Options of a compiler for programs that include ``gaugeflow.h`` from a folder."""
    return [f"-I{folder.resolve()}"]


def link_flags(folder: Path) -> list[str]:
    """Options of a linker for programs that use the library in a folder."""
    where = folder.resolve()
    return [f"-L{where}", f"-Wl,-rpath,{where}", f"-l{NAME}"]


def build_library(folder: Path) -> Path:
    """Write header, Fortran module and shared library into a folder; returns the path of the library.

    Raises
    ------
    ValueError
        If cffi or a compiler is missing, Python has no shared library, or the compiler fails.
    """
    try:
        from cffi import FFI
    except ImportError:
        raise ValueError("building the library needs cffi: pip install 'gaugeflow[embed]'") from None
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        raise ValueError(f"{sys.executable} was built without a shared library, which a host program needs")
    folder.mkdir(parents=True, exist_ok=True)
    package = files("gaugeflow.embed")
    for name in ("gaugeflow.h", "gaugeflow.f90"):
        (folder / name).write_text(package.joinpath(name).read_text())
    header = (folder / "gaugeflow.h").read_text()
    types, calls = _declarations(header)

    builder = FFI()
    builder.cdef(f"{types}\n{_version(header)}\nchar *gf_text(void);\nint gf_text_size(void);")
    builder.embedding_api("\n".join(f"int py_{name}({parameters});" for name, parameters, _ in calls))
    builder.embedding_init_code(_START)
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    named = "".join(f"{_c_text(path)}, " for path in paths)
    python = f"#define GF_PYTHON {_c_text(sys.executable)}\n#define GF_PATHS {named}\n"
    builder.set_source(f"_{NAME}_embedded", python + _SOURCE + "\n".join(_wrapper(*call) for call in calls))
    source = folder / f"_{NAME}_embedded.c"
    with redirect_stdout(StringIO()):  # cffi tells what it does
        builder.emit_c_code(str(source))
    library = folder / f"lib{NAME}{VERSION_SUFFIX}"
    _compile(source, library)
    source.unlink()
    link = folder / f"lib{NAME}.so"
    link.unlink(missing_ok=True)
    link.symlink_to(library.name)
    return library


def _declarations(header: str) -> tuple[str, list[tuple[str, str, str]]]:
    """Types of a header, and its functions: name, parameters, names of the parameters."""
    text = header.partition("/* --- begin of declarations --- */")[2].partition("/* --- end of declarations --- */")[0]
    pattern = re.compile(r"GF_API int (gf_\w+)\(([^)]*)\);")
    calls = []
    for name, parameters in pattern.findall(text):
        joined = " ".join(parameters.split())
        names = [part.rpartition(" ")[2].lstrip("*") for part in joined.split(",")]
        calls.append((name, joined, ", ".join(names)))
    return pattern.sub("", text), calls


def _c_text(text: str) -> str:
    """A literal of C; bytes that are not plain ASCII as octal numbers."""
    plain = frozenset(range(32, 127)) - frozenset(b'"\\?')
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in os.fsencode(text)) + '"'


def _version(header: str) -> str:
    return "\n".join(re.findall(r"#define GF_ABI_\w+ \d+", header))


def _wrapper(name: str, parameters: str, names: str) -> str:
    """The function that C sees around the one that Python implements."""
    call = f"gf_result(gf_started() ? py_{name}({names}) : 0)"
    return f"int py_{name}({parameters});\nint {name}({parameters}) {{ return {call}; }}\n"


def _compile(source: Path, library: Path) -> None:
    place = sysconfig.get_config_var("LIBDIR")
    version = sysconfig.get_config_var("LDVERSION")
    command = [
        *shlex.split(os.environ.get("CC", "cc")),
        *("-O2", "-shared", "-fPIC", "-w"),
        *(f"-I{sysconfig.get_path('include')}", f"-I{source.parent}", str(source), "-o", str(library)),
        *(f"-Wl,-soname,{library.name}", f"-L{place}", f"-Wl,-rpath,{place}", f"-lpython{version}", "-lpthread"),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ValueError(f"building the library needs a C compiler, $CC or cc: {error}") from None
    if done.returncode:
        raise ValueError(f"{shlex.join(command)} failed:\n{done.stderr[-2000:]}")
