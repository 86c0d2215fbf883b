"""Tables in files, in wide and in narrow terminals."""

import pytest

from gaugeflow.cli import output
from gaugeflow.systems.correlated import derivatives_table

TITLE, COLUMNS = "derivatives", ("observable", "a long heading of a column", "d<O>/dbeta", "effective")
ROWS = [
    ("plaquette", 0.1, "0.1501(45)", "12.5"),
    ("t2_e [flow]", None, "-1.20(31)e-05", "3.1 !"),
    ("Q", 7, "12(3)", ""),
]
NOTE = "effective: number of configurations that the weights leave " * 4


@pytest.fixture
def printed(monkeypatch, capsys):
    def call(width, *arguments):
        monkeypatch.setattr(output, "_width", lambda: width)
        output.print_table(*arguments)
        return capsys.readouterr().out.splitlines()

    return call


def test_files_hold_text_alone(printed):
    lines = printed(None, TITLE, COLUMNS, ROWS, [NOTE])
    assert lines[:7] == [
        "",
        "derivatives",
        "",
        "  observable    a long heading of a column      d<O>/dbeta   effective",
        "  " + "-" * (len(lines[5]) - 2),
        "  plaquette                            0.1      0.1501(45)        12.5",
        "  t2_e [flow]                            -   -1.20(31)e-05       3.1 !",
    ]
    assert all(line == line.rstrip() for line in lines)
    assert " ".join(" ".join(lines[9:]).split()) == NOTE.strip()
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("width", [200, 72, 56, 30, 20])
def test_terminals(printed, width):
    """Nothing is cut at any width; a long heading takes several lines, and very narrow tables become lists."""
    lines = printed(width, TITLE, COLUMNS, ROWS, [NOTE])
    text = "\n".join(lines)
    assert max(map(len, lines)) <= max(width, 43)
    for cell in ("0.1501(45)", "-1.20(31)e-05", "t2_e [flow]", "3.1 !"):
        assert cell in text
    assert ("a long heading of a column" in text) == (width != 56)
    if width < 56:
        assert "  observable                  plaquette" in lines
        assert "  a long heading of a column  0.1" in lines


def test_long_titles_and_empty_tables(printed):
    lines = printed(20, "a title that is longer than the terminal", ("what", "value"), [])
    assert lines == ["", "a title that is", "longer than the", "terminal", "", "  what   value", "  ------------", ""]


def test_every_column_of_the_demo_is_explained():
    row = {
        "observable": "plaquette",
        "parameter": "beta",
        "step": 0.1,
        "estimator": "flow",
        "value": 0.1501234,
        "error": 0.0045,
        "tau_int": 0.5,
        "n_effective": 3.0,
        "gain_equal_statistics": 12.0,
        "gain_equal_cost": 3.0,
        "gain_equal_cost_with_training": 1.0,
    }
    table = derivatives_table([{"derivatives": [row]}])
    assert table.rows[0][3:6] == ("0.1501(45)", "0.50", "3.0 !")
    for word in ("tau_int:", "effective:", "gain:", "brackets:", "marked !"):
        assert any(word in note for note in table.notes), word
