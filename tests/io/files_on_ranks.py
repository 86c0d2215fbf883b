"""Files that the processes of ``mpirun`` read and write together, against those of one process: bit for bit.

Arguments: a folder for files, one with files of other programs (or ``-``), and grids with folds such as ``2x1x1x1/1x1x2x1``;
``sparse`` before them adds a large file.
"""

import errno
import os
import resource
import sys
from functools import cache
from pathlib import Path

import numpy as np
from mpi4py import MPI
from test_io_other_programs import write_hirep, write_milc_1, write_text

from gaugeflow import io
from gaugeflow.domains import cut
from gaugeflow.ensembles import FileEnsemble
from gaugeflow.errors import FormatError
from gaugeflow.io import lime
from gaugeflow.io.checksums import scidac_checksum
from gaugeflow.io.config import link_trace, plaquette
from gaugeflow.lattice import Lattice

COMM = MPI.COMM_WORLD
SHAPE = (4, 6, 4, 8)
METADATA = {"creation_date": "Thu Apr 14 17:20:32 2022", "sequence_number": 3, "creator": "test"}
FORMS = {  # name: N, options of write
    "nersc": (3, {"format": "nersc"}),
    "nersc-rows": (3, {"format": "nersc", "rows": 2, "byte_order": "little", "precision": 32}),
    "nersc-su2": (2, {"format": "nersc"}),
    "ildg": (3, {"format": "ildg"}),
    "scidac": (1, {"format": "scidac", "precision": 32}),
    "milc": (3, {"format": "milc", "precision": 32, "byte_order": "big"}),
    "openqcd": (3, {"format": "openqcd"}),
    "hdf5": (3, {"format": "hdf5"}),
    "hdf5-single": (2, {"format": "hdf5", "precision": 32}),
}


@cache
def random_links(n, shape=SHAPE, seed=5):
    rng = np.random.default_rng(seed)
    size = (len(shape), *shape, n, n)
    unitary = np.linalg.qr(rng.normal(size=size) + 1j * rng.normal(size=size))[0]
    return unitary / np.linalg.det(unitary)[..., None, None] ** (1 / n) if n > 1 else unitary / abs(unitary)


def write_whole(folder):
    """Files of one process."""
    configs = {n: io.Config(random_links(n), METADATA) for n in (1, 2, 3)}
    for name, (n, options) in FORMS.items():
        io.write(folder / name, configs[n], **options)
    unmarked = (folder / "nersc").read_bytes().replace(b"IEEE64BIG", b"IEEE64")
    (folder / "nersc-unmarked").write_bytes(unmarked)
    write_hirep(folder / "hirep", configs[3])
    write_hirep(folder / "hirep-su2", configs[2], quaternions=True)
    write_milc_1(folder / "milc-1", configs[3], ">")
    links = configs[3].links.copy()
    links[0, -1] = 0
    io.write(folder / "openqcd-open", io.Config(links), format="openqcd")
    write_text(folder / "bridge", configs[3])
    with io.EnsembleFile.create(folder / "ensemble", shape=SHAPE, n_colours=3, capacity=2) as file:
        for id in range(3):
            file.append(random_links(3, seed=id)[None], id=id, log_weight=-0.5 * id)
    source = np.random.default_rng(9).normal(size=(*SHAPE, 4, 3, 4, 3)) * (1 + 2j)
    io.write_propagator(folder / "propagator", source, origin=(0,) * 4, boundary=(-1, 1, 1, 1))


read_whole = cache(io.read)


def part_of(array, lattice, axis):
    own = [slice(first, first + n) for first, n in zip(lattice.origin, lattice.local_shape, strict=True)]
    return array[(*[slice(None)] * axis, *own)]


def raised(call, *arguments, **options):
    """The error of a call, which must be the same on all processes."""
    try:
        call(*arguments, **options)
        error = None
    except Exception as found:
        error = found
    everywhere = COMM.allgather(f"{type(error).__name__}: {error}")
    assert len(set(everywhere)) == 1, everywhere
    return error


def check_reading(folder, lattice, names):
    for name in names:
        whole = read_whole(folder / name)
        own = io.read(folder / name, lattice=lattice)
        assert np.array_equal(own.links, part_of(whole.links, lattice, 1)), name
        assert own.metadata == whole.metadata, name
        assert own.shape == whole.shape
        assert plaquette(own.links, own.part) == plaquette(whole.links), name
        assert link_trace(own.links, own.part) == link_trace(whole.links), name
        field = lattice.local.pack(own.links[None], 1)
        assert np.array_equal(field, lattice.pack(whole.links[None], 1)), name
    (batch,) = FileEnsemble(lattice, (folder / names[0], folder / names[0])).batches(2)
    assert np.array_equal(batch.fields, lattice.pack(np.stack([read_whole(folder / names[0]).links] * 2), 1))


def check_writing(folder, lattice):
    for name, (n, options) in FORMS.items():
        links = part_of(random_links(n), lattice, 1)
        io.write(folder / "together", io.Config(links, METADATA, lattice=lattice), **options)
        COMM.Barrier()
        assert (folder / "together").read_bytes() == (folder / name).read_bytes(), name
        COMM.Barrier()
    links = part_of(io.read(folder / "openqcd-open").links, lattice, 1)
    io.write(folder / "together", io.Config(links, lattice=lattice), format="openqcd")
    COMM.Barrier()
    assert (folder / "together").read_bytes() == (folder / "openqcd-open").read_bytes()
    COMM.Barrier()


def check_ensemble(folder, lattice):
    path = folder / "together"
    if COMM.rank == 0:
        path.unlink()
    COMM.Barrier()
    with io.EnsembleFile.create(path, shape=SHAPE, n_colours=3, capacity=2, lattice=lattice) as file:
        for id in range(3):
            new = part_of(random_links(3, seed=id), lattice, 1)[None]
            error = raised(fail_on_last, file.append, new, id=id, log_weight=-0.5 * id)
            assert error.filename == str(path)
            assert len(file) == id
            file.append(new, id=id, log_weight=-0.5 * id)
        own = file.read(0, 3)
        error = raised(file.append, own.links[:1], id=2)
        assert "(chain, id)" in str(error)
        assert "the same on all processes" in str(raised(file.append, own.links[:1], id=10 + COMM.rank))
    COMM.Barrier()
    assert path.read_bytes() == (folder / "ensemble").read_bytes()
    with io.EnsembleFile.open(folder / "ensemble", lattice=lattice) as file:
        again = file.read(1, 3)
    with io.EnsembleFile.open(folder / "ensemble") as file:
        whole = file.read(0, 3)
    assert np.array_equal(own.links, part_of(whole.links, lattice, 2))
    assert np.array_equal(again.links, own.links[1:])
    assert np.array_equal(own.log_weight, whole.log_weight)
    assert isinstance(raised(io.EnsembleFile.create, path, shape=SHAPE, n_colours=3, lattice=lattice), FileExistsError)
    COMM.Barrier()


def check_propagator(folder, lattice):
    whole, own = io.read_propagator(folder / "propagator"), io.read_propagator(folder / "propagator", lattice=lattice)
    assert np.array_equal(own.array, part_of(whole.array, lattice, 0))
    assert own[1:] == whole[1:]
    io.write_propagator(folder / "together", own.array, origin=own.origin, boundary=own.boundary, lattice=lattice)
    COMM.Barrier()
    assert (folder / "together").read_bytes() == (folder / "propagator").read_bytes()
    COMM.Barrier()


def check_errors(folder, lattice):
    """Damage that one process sees, and calls that fail on one process."""
    for name in (*FORMS, "hirep", "nersc-unmarked", "ensemble"):
        content = bytearray((folder / name).read_bytes())
        if name == "ensemble":
            position = content.index(random_links(3, seed=1)[2, 3].tobytes()) + 77
        else:
            position = len(content) - (
                1000 if name == "hirep" else 1001
            )  # near the last site, the exponent of a number
        content[position] ^= 0x40
        if COMM.rank == 0:
            (folder / "damaged").write_bytes(content)
        COMM.Barrier()
        if name == "ensemble":
            with io.EnsembleFile.open(folder / "damaged", lattice=lattice) as file:
                error = raised(file.read, 0, 3)
            assert "configuration 1 crc32" in str(error)
        else:
            error = raised(io.read, folder / "damaged", lattice=lattice)
        assert isinstance(error, FormatError), (name, error)
        COMM.Barrier()
    before = sorted(os.listdir(folder))
    links = part_of(random_links(3), lattice, 1).copy()
    good = io.Config(links.copy(), METADATA, lattice=lattice)
    if COMM.rank == COMM.size - 1:
        links[1, -1, 0, -1, 0, 0, 0] = np.nan
    wrong = io.Config(links, lattice=lattice)
    for form in ("nersc", "ildg", "openqcd", "hdf5"):
        error = raised(io.write, folder / "new", wrong, format=form)
        assert isinstance(error, ValueError)
        t, z, y, x = (n - 1 for n in SHAPE)
        first = (t, z + 1 - lattice.local_shape[1], y, x + 1 - lattice.local_shape[3])
        assert f"link (1, {', '.join(map(str, first))})" in str(error), error
        error = raised(fail_on_last, io.write, folder / "new", good, format=form)
        assert error.errno == errno.ENOSPC
        assert error.filename == str(folder / "new")
    assert "the same on all processes" in str(
        raised(io.read, folder / f"milc{'-1' * (COMM.rank % 2)}", lattice=lattice)
    )
    assert "one process convert" in str(raised(io.read, folder / "bridge", lattice=lattice))
    assert isinstance(raised(io.read, folder / "absent", lattice=lattice), FileNotFoundError)
    other = Lattice(tuple(2 * n for n in SHAPE), None, lattice.domain)
    for name in ("nersc", "ildg", "openqcd", "hdf5", "milc", "hirep"):
        assert "shape" in str(raised(io.read, folder / name, lattice=other))
    COMM.Barrier()
    assert sorted(os.listdir(folder)) == before


def fail_on_last(call, *arguments, **options):
    """A disk that is full for the last process."""
    modules = [sys.modules[f"gaugeflow.io.{name}"] for name in ("nersc", "ildg", "openqcd", "datasets", "ensemble")]
    kept = [module.write_items for module in modules]

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    try:
        if COMM.rank == COMM.size - 1:
            for module in modules:
                module.write_items = fail
        call(*arguments, **options)
    finally:
        for module, function in zip(modules, kept, strict=True):
            module.write_items = function


def check_reference(reference):
    """Files of other programs, cut along the fastest direction and another one."""
    for path in sorted(reference.rglob("*")):
        if path.suffix in (".md", ".xml", ".reference") or "out" in path.name or not path.is_file():
            continue
        shape = read_whole(path).shape
        for grid in ((1, 1, 1, COMM.size), (2, 1, COMM.size // 2, 1)):
            if all(n % p == 0 and n // p >= 2 for n, p in zip(shape, grid, strict=True)):
                check_reading(path.parent, cut(shape, COMM, grid), [path.name])


def check_sparse(folder):
    """A file of 48^4 sites of U(1) that holds nothing but zeros, with the checksum of zeros: 340 MB in memory."""
    path, shape = folder / "sparse", (48,) * 4
    sites, site_bytes = int(np.prod(shape)), 4 * 8
    if COMM.rank == 0:
        crc = scidac_checksum(np.zeros((1, site_bytes), np.uint8), np.zeros(1, np.int64))[0]
        sums = [sum_of_equal(crc, modulus, sites) for modulus in (29, 31)]
        text = f"<scidacChecksum><suma>{sums[0]:x}</suma><sumb>{sums[1]:x}</sumb></scidacChecksum>"
        with open(path, "wb") as handle:
            lime.write_message(handle, [("scidac-binary-data", sites * site_bytes), ("scidac-checksum", text.encode())])
        assert path.stat().st_blocks * 512 < 1 << 20
    COMM.Barrier()
    lattice = cut(shape, COMM, (2, 1, 1, COMM.size // 2))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    own = io.read(path, lattice=lattice, n_colours=1, verify=False)
    share = sites * 4 * 16 / COMM.size
    assert own.links.nbytes == share
    assert not own.links.any()
    del own
    error = raised(io.read, path, lattice=lattice, n_colours=1)  # zeros are no phases; their checksum is right
    assert "link (0, 0, 0, 0, 0): expected U U^dagger" in str(error), error
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 1.1 * share + (48 << 20), f"{grown / 2**20:.0f} MB for a share of {share / 2**20:.0f} MB"


def sum_of_equal(word, modulus, count):
    """Exclusive or of equal words of which number k is rotated by k modulo ``modulus``."""
    found = 0
    for rotation in range(modulus):
        if len(range(rotation, count, modulus)) % 2:
            found ^= (word << rotation | word >> 32 - rotation) & 0xFFFFFFFF
    return found


def main(folder, reference, jobs):
    if jobs[0] == "sparse":
        check_sparse(folder)
        jobs = jobs[1:]
    if COMM.rank == 0:
        write_whole(folder)
    COMM.Barrier()
    names = [*FORMS, "nersc-unmarked", "hirep", "hirep-su2", "milc-1", "openqcd-open"]
    for job in jobs:
        grid, fold = (tuple(int(n) for n in numbers.split("x")) for numbers in job.split("/"))
        lattice = cut(SHAPE, COMM, grid, fold)
        check_reading(folder, lattice, names)
        check_writing(folder, lattice)
        check_ensemble(folder, lattice)
        check_propagator(folder, lattice)
    check_errors(folder, lattice)
    if reference != "-":
        check_reference(Path(reference))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        COMM.Abort(1)
