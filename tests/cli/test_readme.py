"""What the README and the page of the command promise: its example runs, its commands are those of the CI."""

import re
import subprocess
from pathlib import Path

import pytest

from gaugeflow.cli import main
from gaugeflow.runfile import read_runfile

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def _blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_example_runs(capsys):
    (example,) = _blocks(README, "python")
    assert len(example.splitlines()) <= 28
    exec(compile(example, "README.md", "exec"), {})
    size, slope = (float(re.sub(r"\(.*", "", line.split()[-1])) for line in capsys.readouterr().out.splitlines())
    assert 0.4 < size < 1
    assert 0.07 < slope < 0.12


def test_ci_runs_the_test_command():
    commands = [block.strip() for block in _blocks(README, "sh")]
    (test_command,) = [command for command in commands if "pytest" in command]
    assert test_command in map(str.strip, (ROOT / ".ci/run").read_text().splitlines())


@pytest.mark.parametrize("fails", ["pip", "pytest"])
def test_ci_ends_where_the_tests_cannot_run_or_fail(fails):
    (block,) = re.findall(r'^step "tests.*?(?=^step )', (ROOT / ".ci/run").read_text(), re.MULTILINE | re.DOTALL)
    stubs = [
        f"{name}() {{ {'false' if name == fails else 'true'}; }}" for name in ("step", "environment", "pip", "pytest")
    ]
    script = "\n".join(["set -euo pipefail", *stubs, block, "echo went on"])
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (1, "")


def test_every_command_is_described():
    described = set(re.findall(r"^\| `gaugeflow (\w+)", README, re.MULTILINE))
    assert described == set(main.commands)


def test_run_file_of_the_documentation(tmp_path):
    (text,) = _blocks((ROOT / "docs/command.md").read_text(), "toml")
    path = tmp_path / "run.toml"
    path.write_text(text)
    run = read_runfile(path)
    assert run.target.beta == (6.03, 6.01)
    # the commented alternatives are valid too
    swapped = text.replace("# anisotropy = [", "anisotropy = [").replace("beta = [6.03, 6.01]\n", "")
    path.write_text(swapped.replace("# fold", "fold"))
    assert read_runfile(path).target.anisotropy == (0.01, -0.01)


@pytest.mark.parametrize("name", ["docs/command.md", "docs/performance.md"])
def test_links_lead_somewhere(name):
    assert f"({name})" in README
    assert (ROOT / name).exists()
