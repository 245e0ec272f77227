"""`mpsd check-endpoint`: an application and the records that matter."""

import asyncio
import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpsd.commands.app import app

if TYPE_CHECKING:
    from mpsd.config import Secret


class Method(StrEnum):
    """The methods that records can be sent by."""

    POST = "POST"
    PUT = "PUT"


EXAMPLE = """\b
Example:
  mpsd check-endpoint http://127.0.0.1:8000/orders --records samples.jsonl
"""


@app.command("check-endpoint", epilog=EXAMPLE)
def check_endpoint(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where the application takes records.")],
    batch: Annotated[int, typer.Option(min=1, max=10_000, metavar="NUMBER", help="Records in a request.")] = 1,
    header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:VALUE", help="Add a header to every request; repeatable.", show_default=False),
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl",
            help="Deliver these records too, JSON lines as `mpsd dev` takes them; the first one replaces the normal record.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[Method, typer.Option(help="Method of each request, like delivery.method.")] = Method.POST,
    separate_headers: Annotated[
        bool, typer.Option("--separate-headers", help='Send headers like delivery.record_headers = "separate".')
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(min=0.1, max=3600.0, metavar="SECONDS", help="Time for each answer, like delivery.timeout_s."),
    ] = 30.0,
    ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Trusted authorities, like delivery.tls.ca.", show_default=False),
    ] = None,
    cert: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Client certificate, like delivery.tls.cert.", show_default=False),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Private key of the certificate, like delivery.tls.key.", show_default=False),
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Deliver the records that matter to an application, without a Kafka.

    The command delivers them like the daemon: a normal record, a repetition, several keys at once, poison, a tombstone, a
    binary key, a record with a value alone, one of 1 MiB. It shows each answer, what the proxy would do with the record, and
    what to improve. If the normal record is not accepted, a few more requests find the reason: path, method, redirect, media
    type, protocol of the port.

    The exit code is 0 if all is well, 1 if there are problems, 2 if the command line is wrong.
    """
    from pydantic import ValidationError

    from mpsd.config import Batch, ClientTls, RestDelivery
    from mpsd.devtools.check_endpoint import check
    from mpsd.devtools.check_report import as_json, show
    from mpsd.devtools.records_file import RecordsFileError, read_records
    from mpsd.devtools.samples import CONCURRENT, sample_of
    from mpsd.errors import ConfigError

    try:
        own = [sample_of(message) for message in read_records(records)] if records is not None else []
    except RecordsFileError as error:
        raise typer.BadParameter(str(error), param_hint="--records") from None
    try:
        delivery = RestDelivery(
            protocol="rest",
            url=url,
            concurrency_max=CONCURRENT,
            timeout_s=timeout,
            method=method.value,
            record_headers="separate" if separate_headers else "combined",
            headers=_headers(header or []),
            batch=Batch(records_max=batch),
            tls=ClientTls(ca=_named(ca), cert=_named(cert), key=_named(key)),
        )
        results, found = asyncio.run(check(delivery, own))
    except ValidationError as error:
        (first, *_) = error.errors()
        raise typer.BadParameter(first["msg"], param_hint=_option(first["loc"])) from None
    except ConfigError as error:
        raise typer.BadParameter("; ".join(problem.message for problem in error.problems), param_hint="URL") from None
    if json_output:
        typer.echo(json.dumps(as_json(url, results, found), indent=2))
    else:
        show(results, found)
    raise typer.Exit(1 if any(each.level == "problem" for each in found) else 0)


def _named(file: Path | None) -> str | None:
    return str(file) if file is not None else None


def _option(path: Sequence[str | int]) -> str:
    """Return the name on the command line of a setting in `delivery`; of an option of `tls`, the last key."""
    return {"url": "URL", "headers": "--header"}.get(str(path[0]), f"--{path[-1]}")


def _headers(given: list[str]) -> "dict[str, Secret]":
    """Return the headers to add, as secrets, because credentials may be among them."""
    from mpsd.config import Secret
    from mpsd.core.percent import TOKEN

    headers: dict[str, Secret] = {}
    for header in given:
        name, colon, value = (part.strip() for part in header.partition(":"))
        if (
            not colon
            or not name
            or name.encode().translate(None, TOKEN)
            or not (value.isascii() and value.isprintable())
        ):
            raise typer.BadParameter("is not NAME:VALUE in visible ASCII", param_hint="--header")
        headers[name] = Secret("env", "--header", value)
    return headers
