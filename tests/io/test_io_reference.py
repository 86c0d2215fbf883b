"""Files written by other programs: every value that they, or their authors, state."""

import numpy as np
import pytest

from gaugeflow.errors import FormatError
from gaugeflow.io import read, write
from gaugeflow.io.config import link_trace, plaquette

STATED = {
    "analysistoolbox/nersc.l8t4b3360": ("nersc", (4, 8, 8, 8), 64, "b379560a", 0.5038664469, 0.005406083858),
    "analysistoolbox/ildg.l8t4b3360": ("ildg", (4, 8, 8, 8), 64, "10d0ea1a a6a1b3b8", 0.5038664469, 0.005406083858),
    "pyquda/weak_field.lime": ("ildg", (8, 4, 4, 4), 64, "a2c41090 11193c39", 0.9948041323, 0.3794493487),
    "chroma/t_nersc.cfg": ("nersc", (4, 4, 4, 4), 32, "717938df", 0.0382422893, 0.4630322094),
    "qdpxx/t_dprec_ildg.lime": ("ildg", (4, 4, 4, 4), 64, "e6ca40a6 59cdeef1", 0.0382422894, 0.4630322094),
    "lyncs_io/unity.lime": ("ildg", (4, 4, 4, 4), 64, "35b49a1b b49a1b35", 1.0, 1.0),
    "milc/lat.sample.l4444": ("milc", (4, 4, 4, 4), 32, "02352c05 d137321d", (1.794675 + 1.774426) / 6, None),
    "milc/lat.sample.l4444.ildg": ("ildg", (4, 4, 4, 4), 32, "37affb9c 2fc07bbf", (1.794675 + 1.774426) / 6, None),
    "milc/lat.sample.l4444.scidac": ("scidac", (4, 4, 4, 4), 32, "37affb9c 2fc07bbf", (1.794675 + 1.774426) / 6, None),
    "milc/lat.sample.l4448": ("milc", (8, 4, 4, 4), 32, "13f3b413 161f7dde", (1.723748 + 1.690586) / 6, None),
}


@pytest.mark.parametrize("name", STATED)
def test_stated_values(reference_folder, name):
    form, shape, precision, checksum, mean_plaquette, mean_link = STATED[name]
    config = read(reference_folder / name)
    assert config.shape == shape
    assert config.n_colours == 3
    assert config.links.dtype == np.complex128
    assert config.metadata["format"] == form
    assert config.metadata["precision"] == precision
    assert config.metadata["checksum"] == checksum
    tolerance = 1e-9 if precision == 64 or form == "nersc" else 3e-7  # MILC prints seven digits
    assert plaquette(config.links) == pytest.approx(mean_plaquette, abs=tolerance)
    if mean_link is not None:
        assert link_trace(config.links) == pytest.approx(mean_link, abs=1e-9)


def test_milc_spatial_and_temporal_plaquettes(reference_folder):
    """CHECK PLAQ of MILC: three times the spatial and the temporal average. Wrong axes would swap or mix them."""
    for name, spatial, temporal in (
        ("milc/lat.sample.l4444", 1.794675, 1.774426),
        ("milc/lat.sample.l4448", 1.723748, 1.690586),
    ):
        links = read(reference_folder / name).links
        space = np.stack([links[1:, t] for t in range(links.shape[1])])
        found = 3 * np.mean([plaquette(time_slice) for time_slice in space])
        assert found == pytest.approx(spatial, abs=2e-6)
        assert 6 * plaquette(links) - found == pytest.approx(temporal, abs=2e-6)


@pytest.mark.parametrize(
    ("first", "second", "tolerance"),
    [
        ("analysistoolbox/nersc.l8t4b3360", "analysistoolbox/ildg.l8t4b3360", 1e-15),
        ("milc/lat.sample.l4444", "milc/lat.sample.l4444.ildg", 0),
        ("milc/lat.sample.l4444", "milc/lat.sample.l4444.scidac", 0),
        ("chroma/t_nersc.cfg", "qdpxx/t_dprec_ildg.lime", 1e-6),  # third rows rebuilt in single precision
    ],
)
def test_twins_are_the_same_field(reference_folder, first, second, tolerance):
    difference = abs(read(reference_folder / first).links - read(reference_folder / second).links).max()
    assert difference <= tolerance


def test_metadata(reference_folder):
    metadata = read(reference_folder / "chroma/t_nersc.cfg").metadata
    assert metadata["sequence_number"] == 0
    assert metadata["ensemble_label"] == "SZIN"
    assert metadata["rows"] == 2
    assert metadata["plaquette"] == 0.0382422893
    assert read(reference_folder / "milc/lat.sample.l4444").metadata["byte_order"] == "little"
    assert read(reference_folder / "milc/lat.sample.l4448").metadata["byte_order"] == "big"
    metadata = read(reference_folder / "lyncs_io/unity.lime").metadata
    assert metadata["plaquette"] == 1.0
    assert metadata["sequence_number"] == 0
    assert "hmcversion = 5.2.0" in metadata["xlf_info"]
    metadata = read(reference_folder / "qdpxx/t_dprec_ildg.lime").metadata
    assert metadata["lfn"] == "lfn://foo.bar/jimmy"
    assert metadata["creation_date"] == "Fri Jan 13 16:25:18 2006 UTC"
    assert "NERSC Config" in metadata["file_xml"]


@pytest.mark.parametrize("name", ["chroma/t_nersc.cfg", "analysistoolbox/nersc.l8t4b3360"])
def test_nersc_data_are_written_back_bit_for_bit(reference_folder, tmp_path, name):
    config = read(reference_folder / name)
    metadata = config.metadata
    options = {"rows": metadata["rows"], "byte_order": metadata["byte_order"], "precision": metadata["precision"]}
    write(tmp_path / "copy.nersc", config, **options)
    copy, original = (tmp_path / "copy.nersc").read_bytes(), (reference_folder / name).read_bytes()
    assert copy.partition(b"END_HEADER\n")[2] == original.partition(b"END_HEADER\n")[2]
    assert read(tmp_path / "copy.nersc").metadata == metadata | {
        key: pytest.approx(metadata[key], abs=1e-9) for key in ("plaquette", "link_trace")
    }


@pytest.mark.parametrize("name", ["milc/lat.sample.l4444", "milc/lat.sample.l4448"])
def test_milc_is_written_back_bit_for_bit(reference_folder, tmp_path, name):
    config = read(reference_folder / name)
    write(tmp_path / "copy.milc", config, precision=32, byte_order=config.metadata["byte_order"])
    assert (tmp_path / "copy.milc").read_bytes()[:64] == (reference_folder / name).read_bytes()[:64]
    assert (tmp_path / "copy.milc").read_bytes()[88:] == (reference_folder / name).read_bytes()[88:]


def test_nersc_checksum_of_milc(reference_folder, tmp_path):
    """CKSUM in the log of MILC: the sum over the first two rows in single precision, as NERSC files have it."""
    write(tmp_path / "copy.nersc", read(reference_folder / "milc/lat.sample.l4448"), precision=32, rows=2)
    assert "b3be9b3b" in (reference_folder / "milc/wilson_flow.1.sample-out").read_text()
    assert read(tmp_path / "copy.nersc").metadata["checksum"] == "b3be9b3b"


@pytest.mark.parametrize("name", ["milc/lat.sample.l4444.ildg", "milc/lat.sample.l4444.scidac", "lyncs_io/unity.lime"])
def test_lime_checksum_is_written_back(reference_folder, tmp_path, name):
    config = read(reference_folder / name)
    write(tmp_path / "copy", config, format=config.metadata["format"], precision=config.metadata["precision"])
    copy = read(tmp_path / "copy")
    assert copy.metadata["checksum"] == config.metadata["checksum"]
    assert copy.metadata.get("xlf_info") == config.metadata.get("xlf_info")
    assert (copy.links == config.links).all()


def test_expectations_are_checked(reference_folder):
    for name in STATED:
        with pytest.raises(FormatError, match=r"shape.*expected \(9, 9, 9, 9\)|shape.*found \(9, 9, 9, 9\)|shape from"):
            read(reference_folder / name, shape=(9, 9, 9, 9))
        with pytest.raises(FormatError, match="colours"):
            read(reference_folder / name, n_colours=2)
