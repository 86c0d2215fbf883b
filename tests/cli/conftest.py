"""Fixtures of the tests of the command."""

import json

import pytest
from click.testing import CliRunner

from gaugeflow.cli import main


@pytest.fixture
def gaugeflow():
    """Run the command in this process; JSON comes back parsed, other output as text."""

    def run(*arguments, status=0):
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == status, f"{result.output}\n{result.exception!r}"
        if status:
            return result.stderr
        return json.loads(result.stdout) if "--json" in arguments else result.stdout

    return run
