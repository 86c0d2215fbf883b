"""One piece of machine code for each kernel.

Numba makes code that can be called of every function that a kernel calls, and of a parallel loop three more times on the way
to its kernel. All but the last are for linking only. While a kernel is compiled here, they are linked as they are, and only
the whole is optimised and turned into machine code. That takes three fifths of the time.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc

from numba import _dynfunc
from numba.core.codegen import JITCodeLibrary, JITCPUCodegen
from numba.core.compiler_lock import global_compiler_lock
from numba.core.cpu import CPUContext


class _Piece(JITCodeLibrary):
    """Code for linking, which becomes machine code only where somebody wants to call it."""

    def finalize(self):
        self._raise_if_finalized()
        for library in dict.fromkeys(self._linking_libraries):
            self._reload_init.update(library._reload_init)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name):
        self._ensure_finalized()
        if not self._codegen._engine.is_symbol_defined(name):
            self._optimize_final_module()
            self._finalize_final_module()
        return super().get_pointer_to_function(name)


_NOT_CALLABLE = ctypes.cast(ctypes.pythonapi.PyObject_Call, ctypes.c_void_p).value
"""Entry point of pieces: what Python hands to it cannot be called, which is the error that it raises."""


def _executable(context, library, fndesc, env):
    """What Numba keeps as the callable form of a function, as ``CPUContext.get_executable`` makes it."""
    if not isinstance(library, _Piece):
        return _get_executable(context, library, fndesc, env)
    library._ensure_finalized()
    return _dynfunc.make_function(
        fndesc.lookup_module(), fndesc.qualname, "a piece of a kernel", _NOT_CALLABLE, env, (library,)
    )


_create_library, _get_executable = JITCPUCodegen.create_library, CPUContext.get_executable


@contextlib.contextmanager
def in_one_piece(name):
    """While the context lasts, this thread compiles the function of that qualified name as a whole, and no other does.

    The collector of cycles is off meanwhile: it would look through all that the process has for what compilation leaves.
    """

    def library(codegen, of):
        return (JITCodeLibrary if of == name else _Piece)(codegen, of)

    collects = gc.isenabled()
    with global_compiler_lock:
        try:
            gc.disable()
            JITCPUCodegen.create_library, CPUContext.get_executable = library, _executable
            yield
        finally:
            JITCPUCodegen.create_library, CPUContext.get_executable = _create_library, _get_executable
            if collects:
                gc.enable()
