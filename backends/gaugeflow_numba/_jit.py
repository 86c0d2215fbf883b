"""The only place where compilation options are set, and where site functions become known to Numba."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import os
import pickle
import warnings
from functools import cache
from pathlib import Path

import numba
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    UserProvidedCacheLocator,
)
from numba.extending import overload, register_jitable

import gaugeflow
from gaugeflow.errors import CacheWarning
from gaugeflow.filesystem import FileLock
from gaugeflow_numba.linking import in_one_piece

OPTIONS = {"error_model": "numpy", "boundscheck": False, "no_cfunc_wrapper": True}
_HELPER = {**OPTIONS, "no_cpython_wrapper": True}  # only kernels call it


@cache
def cache_directory():
    """Directory of compiled kernels.  ``GAUGEFLOW_CACHE_DIR`` overrides the place (default: the user's cache directory)."""
    base = os.environ.get("GAUGEFLOW_CACHE_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "gaugeflow"
    )
    return os.path.join(base, f"numba-{numba.__version__}")


_PACKAGES = {"gaugeflow.sites": Path(gaugeflow.__file__).parent / "sites", "gaugeflow_numba": Path(__file__).parent}


def _statements(node):
    """All statements within a node: a tenth of what ``ast.walk`` gives."""
    for part in ("body", "handlers", "orelse", "finalbody"):
        for child in getattr(node, part, ()):
            yield child
            yield from _statements(child)


@cache
def _imported(path):
    """Files of site functions and of this back end that a file imports by statement; each is parsed once in a process."""
    found = []
    for node in _statements(ast.parse(path.read_bytes())):
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        for package, folder in _PACKAGES.items():
            if node.module == package:
                found += (folder / f"{alias.name}.py" for alias in node.names)
            elif node.module.startswith(f"{package}."):
                found.append(folder / f"{node.module.removeprefix(f'{package}.')}.py")
    return found


@cache
def sources(path):
    """A file of kernels and all that it imports, which Numba's own check of one file would miss.

    ``gaugeflow_numba.sites`` imports every formula only to make it callable: kernels use those that they import themselves.
    """
    known, waiting = set(), [path]
    while waiting:
        file = waiting.pop()
        if file in known or not file.is_file():
            continue
        known.add(file)
        every_formula = file == _PACKAGES["gaugeflow_numba"] / "sites.py"
        waiting += [f for f in _imported(file) if not (every_formula and f.parent == _PACKAGES["gaugeflow.sites"])]
    return sorted(known, key=lambda file: (file.parent.name, file.name))  # wherever the packages are installed


@cache
def digest(path):
    """Hash of the sources of a file of kernels."""
    total = hashlib.sha256()
    for file in sources(path):
        total.update(file.name.encode() + file.read_bytes())
    return total.hexdigest()[:16]


class _Locator(UserProvidedCacheLocator):
    def __init__(self, py_func, py_file):
        self._py_file = py_file
        self._lineno = py_func.__code__.co_firstlineno
        path = Path(py_file)
        self._digest = digest(path)
        self._cache_path = os.path.join(cache_directory(), f"{path.stem}-{self._digest}")

    def get_source_stamp(self):
        """The digest, which equal sources share wherever and whenever they were installed."""
        return self._digest

    @classmethod
    def from_function(cls, py_func, py_file):
        self = cls(py_func, py_file)
        try:
            self.ensure_cache_path()
        except OSError:
            return None
        return self


class _CacheImpl(CompileResultCacheImpl):
    _locator_classes = (_Locator,)


class _Files(IndexDataCacheFile):
    """A file for each signature and processor, whose name says which: machines of a cluster may add to a cache at once.

    Numba's own index numbers the files, and of two processes that add one at the same moment, each would be given that of
    the other, with the instructions of another processor.
    """

    def save(self, key, data):
        self._save_data(self._name(key), (key, data))

    def load(self, key):
        try:
            found, data = self._load_data(self._name(key))
        except (OSError, EOFError, pickle.UnpicklingError):
            return None
        return data if found == key else None

    def _name(self, key):
        return self._data_name(int(hashlib.sha256(repr(key).encode()).hexdigest()[:12], 16))


class _Cache(FunctionCache):
    """Compiled forms of one kernel.  Of many processes that need the same one, one compiles it and the others wait."""

    _impl_class = _CacheImpl

    def __init__(self, py_func):
        super().__init__(py_func)
        locator = self._impl.locator
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, locator.get_source_stamp())
        self._held = contextlib.ExitStack()

    def load_overload(self, sig, target_context):
        found = super().load_overload(sig, target_context)
        if found is None:
            name = f"{self._py_func.__name__}-{hashlib.sha256(str(sig).encode()).hexdigest()[:16]}.lock"
            with contextlib.suppress(OSError):  # no locks: all of them compile
                self._held.enter_context(FileLock(Path(self.cache_path) / name, wait=True))
            found = super().load_overload(sig, target_context)
        return found

    def save_overload(self, sig, data):
        """Keep a compiled form; what was compiled serves this process where it cannot be kept, on a full disk for example."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _warn(error.strerror or str(error))

    def release(self):
        """Let others compile."""
        self._held.close()


@cache
def _warn(reason):
    """Once in a process."""
    warnings.warn(
        f"{cache_directory()}: compiled kernels cannot be kept ({reason}): every process compiles its own",
        CacheWarning,
        2,
    )


def _cached(dispatcher):
    try:
        cache = dispatcher._cache = _Cache(dispatcher.py_func)
    except RuntimeError:  # Numba's, where the folder cannot be made or written
        cache = None
    compile_here = dispatcher.compile

    def compile_or_load(signature):
        if cache is None:
            _warn("not a folder that can be written")
        try:
            with in_one_piece(dispatcher.py_func.__qualname__):
                return compile_here(signature)
        finally:
            if cache is not None:
                cache.release()

    dispatcher.compile = compile_or_load
    return dispatcher


def parallel(function):
    """Compile a lattice loop: threads, disk cache.  No fast-math: see :mod:`gaugeflow_numba.simd`."""
    return _cached(numba.njit(parallel=True, **OPTIONS)(function))


def inline(function):
    """Compile a helper into its caller."""
    return numba.njit(forceinline=True, **_HELPER)(function)


def apart(function):
    """Compile a helper as a function of its own, called rather than inlined."""
    return numba.njit(**_HELPER)(function)


def teach(function, inlined=True):
    """Let kernels call a site function."""
    for_size = getattr(function, "for_size", None)
    if for_size is None:
        return known(function, inlined)

    @overload(function, jit_options=_site_options(inlined), strict=False)
    def _(*args):
        n = round(args[-1].count ** 0.5)
        chosen = for_size(n)
        names = ", ".join(f"a{i}" for i in range(len(args)))
        scope = {"chosen": known(chosen, inlined)}
        exec(f"def call({names}):\n    return chosen({names})\n", scope)
        return scope["call"]

    return function


@cache
def known(function, inlined=True):
    """A Python function that kernels may call."""
    return register_jitable(**_site_options(inlined))(function)


def _site_options(inlined):
    return {"forceinline": inlined, "no_cfunc_wrapper": True}
