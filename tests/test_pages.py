"""The examples of the pages run: the ``python`` blocks of a page one after the other, in one namespace and an empty folder.

Those of three pages run elsewhere, where their numbers are looked at as well: README.md in ``cli/test_readme.py``, fermions.md
in ``operators/test_fermions_page.py``, hadrons.md in ``hadrons/test_page.py``.
"""

import doctest
import re
from importlib import import_module
from pathlib import Path

import pytest

import gaugeflow

ROOT = Path(__file__).resolve().parents[1]
SOURCES = Path(gaugeflow.__file__).parent
BLOCK = re.compile(r"^(?:```|:::)python\n(.*?)^(?:```|:::)", re.MULTILINE | re.DOTALL)
ELSEWHERE = {"fermions", "hadrons"}
PAGES = [
    page
    for page in sorted((ROOT / "docs").rglob("*.md"))
    if "_build" not in page.parts and page.stem not in ELSEWHERE and BLOCK.search(page.read_text())
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_of_pages(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    namespace = {"__name__": page.stem}
    for block in BLOCK.finditer(text):
        above = text.count("\n", 0, block.start(1))  # so that tracebacks show lines of the page
        exec(compile("\n" * above + block[1], str(page), "exec"), namespace)


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(SOURCES.rglob("*.py")) if ">>> " in path.read_text()],
    ids=lambda path: str(path.relative_to(SOURCES)),
)
def test_examples_of_docstrings(path):
    name = ".".join(("gaugeflow", *path.relative_to(SOURCES).with_suffix("").parts)).removesuffix(".__init__")
    found = doctest.testmod(import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_from_outside_the_site(page):
    """Files exist, and so do their headings; the build of the site looks at links between its pages."""
    for target, _, anchor in re.findall(r"\]\(([^)#\s]*)(#([^)\s]*))?\)", page.read_text()):
        if target.startswith("http"):
            continue
        file = page.parent / target if target else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)", file.read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in slugs, f"{target}#{anchor}"
