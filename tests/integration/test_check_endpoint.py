"""`mpsd check-endpoint` on stock servers with stock applications: what everybody meets in the first hour."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from mpsd.demo.broker.ports import free_ports
from mpsd.demo.broker.processes import GuardedProcesses
from tests.integration.world.patience import until

pytestmark = pytest.mark.integration

FASTAPI = """\
from fastapi import FastAPI
from pydantic import BaseModel


class Order(BaseModel):
    order: int


app = FastAPI()


@app.post("/orders")
def orders(order: Order):
    return {"took": order.order}


@app.post("/slash/")
def slash(order: Order):
    return {"took": order.order}
"""
FLASK = """\
from flask import Flask, request

app = Flask(__name__)


@app.post("/orders")
def orders():
    return {"took": request.get_json()["order"]}


@app.post("/boom")
def boom():
    raise ValueError("boom")
"""
RECORDS = '{"key": "a", "value": {"order": 1}}\n'
SERVERS = {
    "fastapi": (FASTAPI, ["uvicorn", "application:app", "--log-level", "warning", "--port"]),
    "gunicorn": (FLASK, ["gunicorn", "application:app", "--no-control-socket", "--log-level", "warning", "--bind"]),
}


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Yield the URL of each server."""
    with closing(GuardedProcesses()) as processes:
        found = {}
        for (name, (application, words)), port in zip(SERVERS.items(), free_ports(len(SERVERS)), strict=True):
            directory = tmp_path_factory.mktemp(name)
            (directory / "application.py").write_text(application)
            where = str(port) if words[-1] == "--port" else f"127.0.0.1:{port}"
            argv = ["env", f"PYTHONPATH={directory}", sys.executable, "-m", *words, where]
            processes.start(name, argv, log=directory / "log")
            found[name] = f"http://127.0.0.1:{port}"
        yield found


async def checked(url: str, tmp_path: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Return the exit code and the output of a check of a server that listens."""

    def listens() -> bool:
        try:
            urlopen(url).close()
        except URLError as error:
            return not isinstance(error.reason, OSError)
        return True

    await until(listens, f"{url} answers")
    (tmp_path / "records.jsonl").write_text(RECORDS)
    argv = [sys.executable, "-m", "mpsd", "check-endpoint", url, "--json", *arguments]
    done = await asyncio.to_thread(subprocess.run, argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("server", SERVERS)
async def test_a_stock_application_with_its_own_records_has_no_problem(
    urls: dict[str, str], server: str, tmp_path: Path
) -> None:
    code, said = await checked(f"{urls[server]}/orders", tmp_path, "--records", "records.jsonl")
    assert (code, [each for each in said["advice"] if each["level"] == "problem"]) == (0, [])
    remarks = [each["text"] for each in said["advice"] if each["step"] == "connections"]
    assert len(remarks) == (server == "gunicorn")
    assert all("gunicorn's sync workers" in text for text in remarks)


@pytest.mark.parametrize(
    ("server", "path", "says", "said_by_application"),
    [
        ("fastapi", "/orders", "give records that it should accept with --records", "Field required"),
        ("fastapi", "/slash", "the trailing slash is the difference", ""),
        ("fastapi", "/order", "this path is not there; its OpenAPI document has POST /orders, /slash/", "Not Found"),
        ("gunicorn", "/order", "this path is not there; correct", "The requested URL was not found"),
        ("gunicorn", "/boom", "the application's log should say more", "Internal Server Error"),
    ],
)
async def test_one_cause_is_one_problem_with_the_words_of_the_application(
    urls: dict[str, str], server: str, path: str, says: str, said_by_application: str, tmp_path: Path
) -> None:
    code, said = await checked(urls[server] + path, tmp_path)
    (only,) = said["advice"]
    assert (code, only["step"], only["level"]) == (1, "normal", "problem")
    assert says in only["text"]
    assert said_by_application in only["answer_body"]
