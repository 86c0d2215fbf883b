"""The functions of ``gaugeflow.h``: what happens when a host program calls one.

Each takes what C hands over, works with the library, and writes its results where the host wants them.  :func:`bind` makes them
callable from C; whatever they raise becomes a status and a message there.
"""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np

from gaugeflow import kernels
from gaugeflow.backend import offered
from gaugeflow.embed.handles import Choice, HandleError, Handles, Recipe, fastest_lattice, whole_extents
from gaugeflow.embed.memory import HostField
from gaugeflow.errors import ConvergenceError, FormatError
from gaugeflow.lattice import Array, Domain, Lattice

STATUS: tuple[tuple[type[BaseException], int], ...] = (
    (HandleError, 2),
    (ConvergenceError, 3),
    (ArithmeticError, 3),
    (FormatError, 4),
    (OSError, 4),
    (ValueError, 1),
    (TypeError, 1),
    (BaseException, 5),
)
"""What an exception means in C, in this order."""
RAN = 1000
"""Added to a status here and taken off in C, where a call that never ran returns 0."""

handles = Handles()
_turn = RLock()
"""Held by the call that runs: kernels let other threads of the host run Python, and not every threading layer stands that."""


def bind(ffi: Any, lib: Any) -> None:
    """Make all calls available to C.

    Parameters
    ----------
    ffi, lib
        The two objects of a module built by cffi.
    """
    warnings.simplefilter("ignore")  # a library prints nothing into its host's output
    calls = _Calls(ffi, lib)
    for name in [name for name in dir(calls) if name.startswith("gf_")]:
        ffi.def_extern(name=f"py_{name}")(_guarded(ffi, lib, getattr(calls, name)))


def _guarded(ffi: Any, lib: Any, call: Callable[..., None]) -> Callable[..., int]:
    """A call that returns a status and leaves a message, whatever happens."""

    @functools.wraps(call)
    def guarded(*args: Any) -> int:
        status, text = 0, ""
        try:
            with _turn:
                call(*args)
        except BaseException as error:
            status = next(number for kind, number in STATUS if isinstance(error, kind))
            text = f"{call.__name__}: {error}" if status != STATUS[-1][1] else f"{call.__name__}: {error!r}"
        room = lib.gf_text_size()
        raw = text.encode(errors="replace")[: room - 1] + b"\0"  # names of files need not be text
        ffi.memmove(lib.gf_text(), raw, len(raw))
        return RAN + status

    return guarded


class _Calls:
    """All calls; ``ffi`` and ``lib`` are those of the built library."""

    def __init__(self, ffi: Any, lib: Any) -> None:
        self._ffi, self._lib = ffi, lib

    # ---- life cycle --------------------------------------------------------------------------------------------------
    def gf_version(self, major: Any, minor: Any) -> None:
        self._needed(major=major, minor=minor)
        major[0], minor[0] = self._lib.GF_ABI_MAJOR, self._lib.GF_ABI_MINOR

    def gf_threads(self, count: int) -> None:
        set_threads = offered("numba", "set_threads")
        if set_threads is not None:
            set_threads(count)

    def gf_open(self, run_file: Any, run: Any) -> None:
        from gaugeflow.runfile import FlowSection, read_runfile

        path = Path(self._text(run_file, "run_file"))
        found = read_runfile(path, FlowSection)
        self._hand_out(run, Recipe("run", lambda lattice: found, functools.partial(_lattice_of_run, found), found))

    def gf_close(self, handle: int) -> None:
        handles.close(handle)

    def gf_domain(self, communicator: int, dimensions: int, grid: Any, domain: Any) -> None:
        from gaugeflow.domains import Processes

        self._needed(grid=grid)
        if not 2 <= dimensions <= self._lib.GF_DIMENSIONS:
            raise ValueError(f"dimensions: expected 2 to {self._lib.GF_DIMENSIONS}, got {dimensions}")
        try:
            import mpi4py

            mpi4py.rc.initialize = mpi4py.rc.finalize = False  # both are the host's
            from mpi4py import MPI
        except ImportError:
            raise ValueError("communicator: needs mpi4py, built for the MPI of this program") from None
        if not MPI.Is_initialized() or MPI.Is_finalized():
            raise ValueError("communicator: expected MPI to be initialised by the host")
        comm = MPI.Comm.f2py(communicator)
        if comm == MPI.COMM_NULL:
            raise ValueError(f"communicator: expected the Fortran handle of one, got {communicator}")
        processes = Processes(comm, self._ffi.unpack(grid, dimensions))
        self._hand_out(domain, Recipe("domain", lambda lattice: processes, settings=processes))

    # ---- actions and flows -------------------------------------------------------------------------------------------
    def gf_source(self, run: int, action: Any) -> None:
        from gaugeflow.cli.assembly import source_action

        found = handles.get(run, "run")
        settings = found.settings
        self._hand_out(action, Recipe("action", lambda lattice: source_action(settings, lattice), found.choose))

    def gf_target(self, run: int, value: float, action: Any) -> None:
        from gaugeflow.cli.assembly import Target, source_action
        from gaugeflow.runfile import TargetSection

        found = handles.get(run, "run")
        settings = found.settings
        parameter = settings.require(TargetSection).parameter
        if parameter == "kappa":
            raise ValueError(
                f"{settings.path}: [target] kappa: expected beta or anisotropy: gauge actions have no quarks"
            )
        target = Target(parameter, value, value - getattr(settings.source, parameter))
        recipe = Recipe("action", lambda lattice: target.action(source_action(settings, lattice)), found.choose)
        recipe.make(Lattice(settings.lattice.shape))  # what is wrong with the value is said now
        self._hand_out(action, recipe)

    def gf_wilson(self, beta: float, anisotropy: float, action: Any) -> None:
        from gaugeflow.actions import WilsonAction

        WilsonAction(Lattice((2, 2)), beta, anisotropy)
        self._hand_out(action, Recipe("action", lambda lattice: WilsonAction(lattice, beta, anisotropy)))

    def gf_flow(self, run: int, parameters: Any, flow: Any) -> None:
        from gaugeflow.cli.assembly import flow_form, make_flow
        from gaugeflow.io.params import read_params

        found = handles.get(run, "run")
        settings = found.settings
        path = self._text(parameters, "parameters")
        params, attributes = read_params(path)
        expected = json.loads(json.dumps(flow_form(settings)))
        if attributes.get("flow") != expected:
            raise ValueError(f"{path} is another flow: expected {expected}, got {attributes.get('flow')}")
        self._hand_out(flow, Recipe("flow", lambda lattice: (make_flow(settings, lattice), params), found.choose))

    def gf_pull_back(self, action: int, flow: int, pulled_back: Any) -> None:
        from gaugeflow.actions import PulledBack

        inner, map_ = handles.get(action, "action"), handles.get(flow, "flow")
        make = lambda lattice: PulledBack(inner.on(lattice), *map_.on(lattice))  # noqa: E731
        self._hand_out(pulled_back, Recipe("action", make, map_.choose))

    def gf_value(self, action: int, links: Any, values: Any) -> None:
        recipe, field = handles.get(action, "action"), self._links(links)
        lattice = self._lattice(field, recipe.choose)
        self._numbers((values, "values", recipe.on(lattice).value(field.read(lattice))))

    def gf_force(self, action: int, links: Any, force: Any) -> None:
        recipe, field, out = handles.get(action, "action"), self._links(links), self._links(force, "force")
        field.like(out, "force")
        lattice = self._lattice(field, recipe.choose)
        found = recipe.on(lattice).grad(field.read(lattice))
        _require_finite(kernels.inner(lattice, found, found), "norm of the force")
        out.write(lattice, found)

    def gf_forward(self, flow: int, x: Any, y: Any, log_det: Any) -> None:
        self._map(flow, "forward", (x, "x"), (y, "y"), log_det, "log_det")

    def gf_inverse(self, flow: int, y: Any, x: Any, minus_log_det: Any) -> None:
        self._map(flow, "inverse", (y, "y"), (x, "x"), minus_log_det, "minus_log_det")

    def _map(self, flow: int, method: str, given: Any, wanted: Any, log_det: Any, name: str) -> None:
        recipe, field, out = handles.get(flow, "flow"), self._links(*given), self._links(*wanted)
        field.like(out, wanted[1])
        lattice = self._lattice(field, recipe.choose)
        map_, params = recipe.on(lattice)
        result, change = getattr(map_, method)(params, field.read(lattice))
        self._numbers((log_det, name, change), before=lambda: out.write(lattice, result))

    def gf_log_weight(self, source: int, target: int, flow: int, links: Any, log_weight: Any) -> None:
        first, second = handles.get(source, "action"), handles.get(target, "action")
        map_ = handles.get(flow, "flow") if flow else None
        field = self._links(links)
        lattice = self._lattice(field, (map_ or second).choose)
        x = field.read(lattice)
        weight = first.on(lattice).value(x)
        if map_ is None:
            weight = weight - second.on(lattice).value(x)
        else:
            function, params = map_.on(lattice)
            y, log_det = function.forward(params, x)
            weight = weight - second.on(lattice).value(y) + log_det
        self._numbers((log_weight, "log_weight", weight))

    # ---- measurements ------------------------------------------------------------------------------------------------
    def gf_gradient_flow(self, links: Any, count: int, times: Any, step: float, t2_energy: Any, charge: Any) -> None:
        from gaugeflow.observables import flow_history

        field = self._links(links)
        self._needed(times=times)
        if count < 1:
            raise ValueError(f"count: expected at least one flow time, got {count}")
        lattice = self._lattice(field)
        history = flow_history(lattice, field.read(lattice), self._ffi.unpack(times, count), step=step)
        self._numbers((t2_energy, "t2_energy", history.t2_e), (charge, "charge", history.q), optional=True)

    def gf_flowed(self, links: Any, time: float, step: float, flowed: Any) -> None:
        from gaugeflow.observables import advance

        field, out = self._links(links), self._links(flowed, "flowed")
        field.like(out, "flowed")
        lattice = self._lattice(field)
        out.write(lattice, advance(lattice, field.read(lattice), time, step=step))

    # ---- quarks ------------------------------------------------------------------------------------------------------
    def gf_dirac(self, kappa: float, csw: float, dimensions: int, angles: Any, operator_: Any) -> None:
        from gaugeflow.operators import Clover, Wilson, boundary_phases

        if not 2 <= dimensions <= self._lib.GF_DIMENSIONS:
            raise ValueError(f"dimensions: expected 2 to {self._lib.GF_DIMENSIONS}, got {dimensions}")
        phases = None
        if angles != self._ffi.NULL:
            phases = boundary_phases(self._ffi.unpack(angles, dimensions))

        def make(lattice: Lattice) -> Any:
            if csw:
                return Clover(lattice=lattice, kappa=kappa, csw=csw, boundary=phases)
            return Wilson(lattice=lattice, kappa=kappa, boundary=phases)

        make(Lattice((2,) * dimensions))  # what is wrong with the numbers is said now
        self._hand_out(operator_, Recipe("operator", make))

    def gf_quark(self, run: int, index: int, operator_: Any) -> None:
        from gaugeflow.cli.hybrid import make_operator
        from gaugeflow.runfile import FermionsSection

        found = handles.get(run, "run")
        settings = found.settings
        quarks = len(settings.require(FermionsSection).flavours)
        if not 0 <= index < quarks:
            raise ValueError(f"index: expected 0 to {quarks - 1}, got {index}")
        self._hand_out(
            operator_, Recipe("operator", lambda lattice: make_operator(settings, lattice, index), found.choose)
        )

    def gf_solve(
        self, operator_: int, links: Any, b: Any, tolerance: float, x: Any, residual: Any, iterations: Any
    ) -> None:
        from gaugeflow.solvers import solve

        recipe, field = handles.get(operator_, "operator"), self._links(links)
        right, out = (HostField.of(self._ffi, self._lib, f, name) for f, name in ((b, "b"), (x, "x")))
        for other, name in ((right, "b"), (out, "x")):
            field.like(other, name)
            if other.spin == 0:
                raise ValueError(f"{name}: expected a fermion field, got spin 0, which is for links")
        lattice = self._lattice(field, recipe.choose)
        operator = recipe.on(lattice).with_links(field.read(lattice))
        solution = solve(operator, right.read(lattice), tolerance=tolerance)
        found = (residual, "residual", solution.residual)
        self._numbers(found, optional=True, before=lambda: out.write(lattice, solution.x))
        if iterations != self._ffi.NULL:
            self._ffi.memmove(
                iterations, np.ascontiguousarray(solution.iterations, dtype=np.int64), 8 * field.configurations
            )

    def gf_read(self, file: Any, links: Any) -> None:
        from gaugeflow.io import read

        path, field = self._text(file, "file"), self._links(links)
        if field.configurations != 1:
            raise ValueError(
                f"links: expected configurations 1, which is what a file holds, got {field.configurations}"
            )
        lattice = self._lattice(field)
        config = read(path, lattice=lattice, n_colours=field.colours)
        field.write(lattice, lattice.local.pack(config.links[None], components=1))

    # ---- what C hands over -------------------------------------------------------------------------------------------
    def _needed(self, **pointers: Any) -> None:
        for name, pointer in pointers.items():
            if pointer == self._ffi.NULL:
                raise ValueError(f"{name}: expected a pointer, got NULL")

    def _text(self, pointer: Any, name: str) -> str:
        self._needed(**{name: pointer})
        return str(self._ffi.string(pointer).decode())

    def _links(self, pointer: Any, name: str = "links") -> HostField:
        field = HostField.of(self._ffi, self._lib, pointer, name)
        if field.spin:
            raise ValueError(f"{name}: expected spin 0, which is for links, got {field.spin}")
        return field

    def _lattice(self, field: HostField, choose: Choice = fastest_lattice) -> Lattice:
        """The lattice of a field, of which it is the part of this process where it names a domain."""
        processes = handles.get(field.domain, "domain").settings if field.domain else None
        return choose(field.extents, field.configurations, processes)

    def _hand_out(self, pointer: Any, recipe: Recipe) -> None:
        self._needed(handle=pointer)
        pointer[0] = handles.add(recipe)

    def _numbers(
        self, *numbers: tuple[Any, str, Array], optional: bool = False, before: Callable[[], None] | None = None
    ) -> None:
        """Write arrays of numbers where the host wants them, and a field before: all of them, or nothing where one is wrong."""
        wanted = [x for x in numbers if not (optional and x[0] == self._ffi.NULL)]
        for pointer, name, values in wanted:
            self._needed(**{name: pointer})
            _require_finite(values, name)
        if before is not None:
            before()
        for pointer, _, values in wanted:
            array = np.ascontiguousarray(values, dtype=np.float64)
            self._ffi.memmove(pointer, array, array.nbytes)


def _require_finite(values: Array, name: str) -> None:
    if not np.isfinite(values).all():
        raise ArithmeticError(f"{name}: expected finite numbers, got {np.asarray(values).tolist()}")


def _lattice_of_run(run: Any, extents: Any, configurations: int, domain: Domain | None) -> Lattice:
    """The lattice of a run file, folded for a number of configurations."""
    from gaugeflow.cli.assembly import make_lattice

    found = whole_extents(extents, domain)
    if found != run.lattice.shape:
        raise ValueError(f"field: expected extents {run.lattice.shape} as in {run.path}, got {found}")
    return make_lattice(run, configurations, domain=domain)
