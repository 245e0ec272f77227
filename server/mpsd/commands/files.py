"""Configuration files and committed offsets as text: `mpsd init`, `schema`, `decode-offsets`."""

import asyncio
import json
import os
from pathlib import Path
from typing import Annotated

import typer

from mpsd.commands.app import app, fail, failing, quiet_library

EXAMPLE = "mps.toml"


@app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="File to write; - for standard output.")] = Path(EXAMPLE),
) -> None:
    """Write a commented configuration to start from.

    An existing file is not overwritten.
    """
    from mpsd.config.example import example

    if str(path) == "-":
        typer.echo(example(), nl=False)
        return
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(example())
    except FileExistsError:
        fail(f"{path} is there already; name another file, or - for standard output")
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror}")
    typer.echo(f"wrote {path}; next: edit it, then `mpsd --config {path} --check`")


@app.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    from mpsd.config.example import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@app.command("decode-offsets")
def decode_offsets(
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Print the groups of this configuration.", show_default=False)
    ] = None,
    subscription: Annotated[
        str, typer.Option(metavar="NAME", help="With --config: this subscription only.", show_default=False)
    ] = "",
    group: Annotated[str, typer.Option(metavar="GROUP", help="Print this group.", show_default=False)] = "",
    bootstrap: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="With --group: the Kafka to ask, without TLS.", show_default=False),
    ] = "",
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object per group, one per line.")] = False,
) -> None:
    """Print the commits of consumer groups, decoded.

    A commit holds the offset below which all records are finished, the records finished beyond it, and the attempts that
    unfinished records have used. Give either --config, or --group and --bootstrap.
    """
    if (config is None) == (not group) or bool(group) != bool(bootstrap):
        raise typer.BadParameter("name either --config FILE, or --group GROUP and --bootstrap HOST:PORT")
    with failing(), quiet_library():
        from mpsd.config import load
        from mpsd.service.offsets import as_json, committed, configured, lines, plain

        given = plain(bootstrap, group) if config is None else configured(load(config, os.environ), subscription)
        for each in given.groups:
            partitions = asyncio.run(committed(given.options, each))
            typer.echo(json.dumps(as_json(each, partitions)) if json_output else "\n".join(lines(each, partitions)))
