"""Requests made up from the OpenAPI document, sent to whoever serves it.

In a process of its own: hypothesis complains of everybody who draws random numbers beside it.
"""

import asyncio
import sys
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok

from mpsd.delivery.openapi import document


def every_operation_holds(base_url: str, subscription: str, examples: int) -> int:
    """Call each operation so often, with bodies that are right and bodies that are wrong.

    Returns:
        requests made.

    Raises:
        FailureGroup: an answer was not what the document says.
    """
    schema = schemathesis.openapi.from_dict(document())
    schema.config.update(base_url=base_url)
    rejection = schema.config.checks.negative_data_rejection  # too many items may make a body that is too large first
    rejection.expected_statuses = [*rejection.expected_statuses, "413"]
    made = 0
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        for mode in schemathesis.GenerationMode:

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            def call(case: schemathesis.Case[Any]) -> None:
                nonlocal made
                made += 1
                case.path_parameters["name"] = subscription
                case.call_and_validate()

            call()
    return made


async def fuzz(address: str, subscription: str, examples: int) -> int:
    """`every_operation_holds` in another process; returns the requests made."""
    argv = [sys.executable, "-m", __name__, f"http://{address}", subscription, str(examples)]
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output.decode()
    return int(output.split()[-1])


if __name__ == "__main__":
    print(every_operation_holds(sys.argv[1], sys.argv[2], int(sys.argv[3])))
