"""gRPC writes nothing of its own to the standard error of our programs."""

import re
import subprocess
import sys

import pytest

LINE_OF_THE_CORE = re.compile(r"^[DIWEF]\d{4} \d\d:\d\d:\d\d", re.MULTILINE)

ENDED_DURING_A_CALL = """
import asyncio, {package}
import grpc

async def wait(request, context):
    await asyncio.sleep(30)

class Waits(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(wait)

async def main():
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Waits(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{{port}}", [("grpc.enable_retries", 0)]) as channel:
        call = channel.unary_unary("/any/call")(b"")
        await channel.channel_ready()
        await server.stop(0)
        print((await call.code()).name)

asyncio.run(main())
"""


@pytest.mark.parametrize("package", ["mpsctl", "mpsd"])
def test_a_server_that_ends_during_a_call_is_an_error_and_no_line(package: str) -> None:
    program = ENDED_DURING_A_CALL.format(package=package)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    # The server here is in the same process, and may print the traceback of its cancelled call.
    assert (ran.returncode, LINE_OF_THE_CORE.findall(ran.stderr)) == (0, []), ran.stderr
