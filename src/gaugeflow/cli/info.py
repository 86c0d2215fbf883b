"""``gaugeflow info``: what is installed and what it would use."""

from __future__ import annotations

import click

from gaugeflow.cli.output import print_json, print_table


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def info(as_json: bool) -> None:
    """Show versions, back ends, threads, vector registers, the cache of compiled kernels and file formats."""
    import platform
    from importlib.metadata import version

    from gaugeflow import __version__
    from gaugeflow.backend import available_backends, offered
    from gaugeflow.io import available_formats

    backends = {}
    for name, state in available_backends().items():
        status = offered(name, "status") if state == "ready" else None
        backends[name] = {"state": state, **(status() if status else {})}
    result = {
        "gaugeflow": __version__,
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "platform": platform.platform(),
        "backends": backends,
        "formats": available_formats(),
    }
    if as_json:
        print_json(result)
        return
    rows = [(key, result[key]) for key in ("gaugeflow", "python", "numpy", "platform")]
    for name, facts in backends.items():
        rows.append((f"back end {name}", facts.pop("state")))
        rows += [(f"  {key.replace('_', ' ')}", str(value)) for key, value in facts.items()]
    rows.append(("formats", ", ".join(available_formats())))
    print_table("gaugeflow", ("what", "value"), rows)
