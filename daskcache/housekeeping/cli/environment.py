"""Commands of ``dask cache`` about the machine and the configuration: config, doctor, open."""

from __future__ import annotations

import sys

import click

from .completion import TargetPath
from .main import json_option, on_root, root_option
from .output import echo, echo_json, echo_table


@click.command("config")
@json_option
def config_command(as_json: bool):
    """List the settings, and what differs from the defaults.

    Set one for all programs with a YAML file in ~/.config/dask, for one shell with an environment
    variable such as DASK_DASKCACHE__ROOT, and in Python with dask.config.set.

    \b
    Example
        DASK_DASKCACHE__ROOT=/data/results dask cache config
    """

    import json

    from ...config import settings

    found = settings()
    if as_json:
        echo_json(**{setting.name: setting.value for setting in found})
        return
    cells = [["setting", "value", "default", ""]]
    for setting in found:
        value, default = json.dumps(setting.value), json.dumps(setting.default)
        changed = default if setting.value != setting.default else ""
        cells.append([setting.name, value, changed, setting.mistake])
    echo_table(cells)


@click.command("doctor")
@click.option("--scheduler", help="Address of a Dask scheduler, whose workers are checked, too.")
@json_option
@root_option
def doctor_command(scheduler: str | None, as_json: bool, root: str | None):
    """Check this machine, the root and a cluster.

    Packages, settings, the right to write, free space and what workers see are checked.  What is wrong
    is told with its cure.  The exit code is 1 if something is wrong.

    \b
    Example
        dask cache doctor --scheduler tcp://10.0.0.1:8786
    """

    from ..doctor import examine

    found = examine(root, scheduler)
    if as_json:
        echo_json(checks=[check._asdict() for check in found])
    else:
        for check in found:
            echo(f"{'ok   ' if check.ok else 'WRONG'} {check.name}: {check.found}")
            if check.cure:
                echo(f"      to do: {check.cure}")
    if not all(check.ok for check in found):
        sys.exit(1)


@click.command("open")
@click.argument("target", type=TargetPath())
@on_root
def open_command(target: str, root):
    """Open TARGET with this machine's program for it.

    \b
    Example
        dask cache open masks/a.tif
    """

    from .chosen import the_one

    item = the_one(root, target)
    if item.stamp is None:
        raise click.ClickException(f"{root.absolute(item.path)} is missing; it is made when computed")
    if click.launch(root.absolute(item.path), wait=sys.platform != "win32") != 0:
        raise click.ClickException(f"no program opens {root.absolute(item.path)}")
