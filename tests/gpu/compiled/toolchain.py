"""Compiles the kernels of the GPU back end without a GPU: to cubin, and to code that this machine's processor runs.

``python tests/gpu/compiled/toolchain.py [N [DRIVER]]`` (see ``docs/gpu.md``) rewrites the table of registers, spills and local
memory, or the rows of one driver.
"""

import ctypes
import importlib
import json
import re
import struct
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import cupy
import llvmlite.binding as llvm
import numpy as np
import nvidia
from numba.cuda import codegen, compiler, dispatcher

from cases.kernels import GPU, KERNELS, Case
from gaugeflow.backend import kernels
from gaugeflow.errors import ConvergenceError
from gaugeflow.lattice import Lattice
from gaugeflow_cupy import launches
from gaugeflow_cupy.launches import flatten, layout, signature

TABLE = Path(__file__).with_name("registers.json")
MODULES = [
    importlib.import_module(f"gaugeflow_cupy.{name}")
    for name in (
        "clover_term",
        "dirac",
        "faces",
        "fermions",
        "gauge",
        "heatbath",
        "improved",
        "random",
        "residual",
        "scalar",
        "smear",
        "smeared",
        "smearing",
        "sums",
    )
]
VARIANTS = {
    "double": (Lattice((4, 4, 2, 2)), np.complex128),
    "double, folded": (Lattice((4, 4, 2, 2), (2, 2, 1, 1)), np.complex128),
    "single": (Lattice((4, 4, 2, 2)), np.complex64),
}
ARCHITECTURES = {"sm_80": (8, 0), "sm_90": (9, 0)}
_capability = (9, 0)


def _pretend(capability):
    """Let numba-cuda compile for a device of this compute capability."""
    global _capability
    _capability = capability
    found = SimpleNamespace(compute_capability=capability)
    dispatcher.get_current_device = lambda: found
    codegen.devices = SimpleNamespace(get_context=lambda: SimpleNamespace(device=found))


_pretend(_capability)


# ---- what drivers launch ---------------------------------------------------------------------------------------------
def with_launcher(launch, name, case):
    """Result of a kernel whose drivers hand their launches to ``launch(kernel, threads, *arguments)``."""
    originals = [module.launch for module in MODULES]
    try:
        for module in MODULES:
            module.launch = launch
        return kernels[name](case.lattice, *KERNELS[name](case))
    finally:
        for module, original in zip(MODULES, originals, strict=True):
            module.launch = original


def drivers(n, lattice, dtype):
    """Every compiled function of the back end with the types of its arguments, by ``module.function``."""
    found = {}

    def record(kernel, threads, *arguments):
        function = kernel.py_func
        found.setdefault(
            f"{function.__module__.partition('.')[2]}.{function.__name__}", (function, signature(arguments))
        )

    with np.errstate(all="ignore"):  # nothing fills the results, not even the number of rejection loops that failed
        for name in GPU:
            with suppress(ConvergenceError):
                with_launcher(record, name, Case(lattice, n, 2, dtype, cupy.asarray))
    return found


# ---- cubin -----------------------------------------------------------------------------------------------------------
def resources(function, argument_types, architecture):
    """Registers, bytes of spills and of the stack frame (local memory) of a thread, as ptxas reports them."""
    _pretend(ARCHITECTURES[architecture])
    code, _ = compiler.compile(
        function, argument_types, device=False, cc=ARCHITECTURES[architecture], abi="numba", output="ptx"
    )
    ptxas = next(Path(p) / "cuda_nvcc/bin/ptxas" for p in nvidia.__path__ if (Path(p) / "cuda_nvcc/bin/ptxas").exists())
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(code)
        command = [str(ptxas), "-v", f"-arch={architecture}", str(source), "-o", str(source.with_suffix(".cubin"))]
        report = subprocess.run(command, check=True, capture_output=True, text=True).stderr
        assert source.with_suffix(".cubin").stat().st_size > 0
    # functions that were not inlined have frames of their own; the kernel is the last one with registers
    frames = [
        tuple(map(int, f)) for f in re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+)", report)
    ]
    return {
        "registers": int(re.search(r"Used (\d+) registers", report)[1]),
        "spill_bytes": sum(stores + loads for _, stores, loads in frames),
        "local_bytes": max(
            [frame for frame, _, _ in frames] + [int(b) for b in re.findall(r"(\d+) bytes cumulative", report)]
        ),
    }


# ---- the same code on the host ---------------------------------------------------------------------------------------
_registers = {name: ctypes.c_int32(0) for name in ("tid", "ntid", "ctaid")}
_HOST_NAMES = {
    "llvm.nvvm.add.rn.": "rounded_add_",
    "llvm.nvvm.mul.rn.": "rounded_mul_",
    "__nv_log": "log",
    'asm sideeffect "", "=d,0"': 'asm sideeffect "", "=x,0"',
    'asm sideeffect "", "=f,0"': 'asm sideeffect "", "=x,0"',
}
_ROUNDED = "".join(
    f"""
define linkonce_odr {kind} @rounded_{name}_{kind[0]}({kind} %a, {kind} %b) {{
  %c = f{name} {kind} %a, %b
  ret {kind} %c
}}
"""
    for name in ("add", "mul")
    for kind in ("double", "float")
)


class HostKernels:
    """Lets launches run numba-cuda's code, before NVVM sees it, on the host: one call for each thread."""

    def __init__(self, monkeypatch):
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        llvm.load_library_permanently("libm.so.6")
        self._known = {}
        monkeypatch.setattr(launches, "_compiled", self._compiled)
        monkeypatch.setattr(cupy.cuda, "driver", SimpleNamespace(launchKernel=self._launch), raising=False)

    def _compiled(self, kernel, arguments):
        address, engine = self._build(kernel.py_func, signature(arguments))
        words = struct.Struct(layout(flatten(arguments)[0]))
        kinds = [ctypes.c_double if isinstance(w, float) else ctypes.c_int64 for w in words.unpack(bytes(words.size))]
        self._known[address] = ctypes.CFUNCTYPE(None, *kinds)(address), words, engine
        return address

    def _launch(self, address, blocks, _y, _z, threads, _u, _v, shared, stream, parameters, extra):
        function, words, _ = self._known[address]
        buffer_is, buffer, size_is, size, end = (ctypes.c_size_t * 5).from_address(extra)
        assert (buffer_is, size_is, end) == (1, 2, 0)
        assert ctypes.c_size_t.from_address(size).value == words.size
        values = words.unpack((ctypes.c_char * words.size).from_address(buffer).raw)
        _registers["ntid"].value = threads
        for thread in range(blocks * threads):
            _registers["ctaid"].value, _registers["tid"].value = divmod(thread, threads)
            function(*values)

    @staticmethod
    def _build(function, argument_types):
        library, _ = compiler._compile_pyfunc_with_fixup(
            function, argument_types, device=False, abi="numba", cc=_capability
        )
        module = llvm.parse_assembly(_ROUNDED)
        for part in library.modules:
            module.link_in(llvm.parse_assembly(_for_host(str(part))))
        machine = llvm.Target.from_default_triple().create_target_machine(opt=1)
        engine = llvm.create_mcjit_compiler(module, machine)
        engine.finalize_object()
        return engine.get_function_address(library._entry_name), engine


def _for_host(code):
    def special_register(found):
        return f"load i32, i32* inttoptr (i64 {ctypes.addressof(_registers[found[1]])} to i32*)"

    code = re.sub(r"target (triple|datalayout) = .*|!nvvm\..*|declare .*llvm\.nvvm\.read.*", "", code)
    code = re.sub(r'call i32 @"?llvm\.nvvm\.read\.ptx\.sreg\.(n?tid|ctaid)\.x"?\(\)', special_register, code)
    for device_name, host_name in _HOST_NAMES.items():
        code = code.replace(device_name, host_name)
    return code


def write_table(n=3, only=""):
    """Compile all drivers whose name contains ``only`` for every architecture, and write their rows."""
    table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    table["toolchain"] = {name: version(name) for name in ("numba-cuda", "nvidia-cuda-nvcc-cu12")}
    rows = table.setdefault(f"SU({n})", {})
    for architecture in ARCHITECTURES:
        for variant, (lattice, dtype) in VARIANTS.items():
            for name, (function, argument_types) in drivers(n, lattice, dtype).items():
                if only not in name:
                    continue
                found = resources(function, argument_types, architecture)
                rows.setdefault(name, {}).setdefault(variant, {})[architecture] = found
                print(architecture, variant, name, found, flush=True)
    TABLE.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    write_table(int(sys.argv[1]) if len(sys.argv) > 1 else 3, "".join(sys.argv[2:]))
