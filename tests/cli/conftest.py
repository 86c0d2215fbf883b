"""Fixtures of the tests of the command."""

import json

import pytest
from click.testing import CliRunner

from cases import threads
from gaugeflow.cli import main


class Command:
    """Run the command in this process; JSON comes back parsed, other output as text.

    ``stdout`` and ``stderr`` are those of the last call.
    """

    stdout, stderr = "", ""

    def __call__(self, *arguments, status=0):
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == status, f"{result.output}\n{result.exception!r}"
        self.stdout, self.stderr = result.stdout, result.stderr
        if status:
            return result.stderr
        return json.loads(result.stdout) if "--json" in arguments else result.stdout


@pytest.fixture
def gaugeflow():
    """The command; threads that it takes are given back."""
    yield Command()
    threads.share()
