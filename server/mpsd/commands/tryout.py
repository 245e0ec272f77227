"""Commands that need no Kafka: `mpsd demo`, `dev`, `broker`."""

from pathlib import Path
from typing import Annotated

import typer

from mpsd.commands.app import app, failing


@app.command()
def demo(
    records: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="Number of records.")] = 20_000,
    keys: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="Number of keys.")] = 500,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
) -> None:
    """Run the whole service on a real Kafka, and check every promise.

    The demo starts a Kafka, an application and the daemon, sends records, some of which fail on purpose, stops the application
    for a while, and checks every promise at the end. The exit code is 1 if a promise is broken.

    The demo needs an extra: pip install 'kafka-mps[demo]'. To use another Kafka, set KAFKA_BOOTSTRAP_SERVERS.
    """
    with failing():
        from mpsd.demo.demo import run_demo

        raise typer.Exit(run_demo(records=records, keys=keys, keep=keep, json_output=json_output))


@app.command()
def dev(
    records: Annotated[
        Path, typer.Option(metavar="FILE", help="JSON lines, each with key, value and headers.", show_default=False)
    ],
    url: Annotated[str, typer.Option(metavar="URL", help="URL of the application.", show_default=False)],
    watch: Annotated[
        bool, typer.Option("--watch", help="Deliver again whenever the file changes, until Ctrl-C.")
    ] = False,
    partitions: Annotated[int, typer.Option(min=1, max=1000, metavar="NUMBER", help="Partitions of the topic.")] = 3,
    attempts: Annotated[
        int, typer.Option(min=1, max=1000, metavar="NUMBER", help="Attempts before a dead letter.")
    ] = 5,
    concurrency: Annotated[
        int, typer.Option(min=1, max=10_000, metavar="NUMBER", help="Requests at the same time.")
    ] = 64,
    batch: Annotated[int, typer.Option(min=1, max=10_000, metavar="NUMBER", help="Records in a POST.")] = 1,
    timeout_s: Annotated[float, typer.Option(min=0.01, metavar="SECONDS", help="Time-out of one request.")] = 30.0,
    wait_s: Annotated[float, typer.Option(min=1.0, metavar="SECONDS", help="Time for all records to settle.")] = 60.0,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
) -> None:
    """Deliver the records of a file to an application, and print the outcome of each.

    This helps to write an application without a Kafka at hand: the command starts a real one, and the daemon delivers as in
    production, with retries and dead letters. The exit code is 1 if a record was not accepted.

    A line of the file: {"key": "k1", "value": {"order": 1}, "headers": {"trace": "abc"}}

    Example: mpsd dev --records orders.jsonl --url http://127.0.0.1:8000/orders --watch
    """
    with failing():
        from mpsd.devtools.dev import Plan, run_dev

        plan = Plan(
            records=records,
            url=url,
            watch=watch,
            partitions=partitions,
            attempts_max=attempts,
            concurrency_max=concurrency,
            batch_records_max=batch,
            timeout_s=timeout_s,
            wait_s=wait_s,
            json_output=json_output,
        )
        raise typer.Exit(run_dev(plan))


@app.command()
def broker(
    nodes: Annotated[int, typer.Option(metavar="1|3", help="Number of nodes.")] = 1,
    port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", min=1, max=65535, help="Port of the first node; by default a free one.", show_default=False
        ),
    ] = None,
) -> None:
    """Run a real Kafka on this machine until Ctrl-C.

    The broker creates no topic by itself, and its data is removed at the end. It needs an extra: pip install 'kafka-mps[demo]'.
    """
    if nodes not in {1, 3}:
        raise typer.BadParameter("a broker has 1 or 3 nodes", param_hint="--nodes")
    with failing():
        from mpsd.demo.broker import run_broker_command

        raise typer.Exit(run_broker_command(nodes=1 if nodes == 1 else 3, port=port))
