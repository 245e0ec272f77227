"""Settings of mpsctl: a flag overrides the environment, the environment the file, and the file the default.

The file may have contexts, one for each fleet. With `--context` only that context and the flags have an effect.
"""

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from mpsctl.errors import usage

DEFAULT_ADDRESS = "127.0.0.1:7070"
"""The default address of a daemon's admin listener."""
FILE_BYTES_MAX = 1_048_576
TOKEN_CHARS_MAX = 512
LOOPBACK = ("127.", "localhost:", "[::1]:")
KEYS = {
    "address": "MPSCTL_ADDRESS",
    "token_file": "MPSCTL_TOKEN_FILE",
    "tls": "MPSCTL_TLS",
    "ca": "MPSCTL_CA",
    "cert": "MPSCTL_CERT",
    "key": "MPSCTL_KEY",
    "insecure": "MPSCTL_INSECURE",
    "timeout": "MPSCTL_TIMEOUT",
}
"""Keys of the file and of each of its contexts, and the variables that override them."""
CONTEXT, CONTEXTS = "context", "contexts"
"""Other keys of the file: the name of the default context, and the table of contexts."""
Values = Mapping[str, str | bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """The configuration file.

    Attributes:
        values: the keys outside of any context.
        contexts: the contexts by name; none inherits a key, so that a token is never sent to another fleet.
        context: the name of the default context; empty: none.
    """

    values: Values
    contexts: Mapping[str, Values]
    context: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings for a connection to a daemon.

    Attributes:
        address: `host:port`.
        address_from: the flag, variable or file that set the address, for messages.
        token: the access token that is sent with each call; empty: none.
        tls: True to use TLS; always True with `ca` or `cert`.
        ca: PEM of the authorities that may sign the daemon's certificate; None: the system's authorities.
        cert: PEM of the client's certificate; None: none.
        key: PEM of the private key of `cert`; None: none.
        timeout_s: time limit of a call; None: the default of its kind.
    """

    address: str
    address_from: str
    token: str
    tls: bool
    ca: bytes | None
    cert: bytes | None
    key: bytes | None
    timeout_s: float | None


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the path of the configuration file."""
    if named := environ.get("MPSCTL_CONFIG"):
        return Path(named)
    home = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME") or "~").expanduser() / ".config")
    return Path(home) / "mpsctl" / "config.toml"


def context_names(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the names of the contexts of the file.

    Raises:
        CommandError: the file cannot be read.
    """
    return sorted(_file(config_path(environ), needed=False).contexts)


def load(flags: Mapping[str, str | bool | None], environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings in effect.

    Args:
        flags: values by key; None and absent: not given. With a `context` all variables are ignored, because they may
            be meant for another fleet.

    Raises:
        CommandError: a setting is wrong; the message names it and its source.
    """
    path = config_path(environ)
    file, source = _chosen(flags, environ, path)
    environ = environ if not flags.get(CONTEXT) else {}
    given: dict[str, tuple[str | bool, str]] = {}
    for name, variable in KEYS.items():
        if (flag := flags.get(name)) not in {None, False}:
            given[name] = (str(flag) if not isinstance(flag, bool) else flag, f"--{name.replace('_', '-')}")
        elif environ.get(variable):
            given[name] = (environ[variable], variable)
        elif name in file:
            given[name] = (file[name], source)

    def text(key: str, default: str = "") -> str:
        return str(given[key][0]) if key in given else default

    def content(key: str) -> bytes | None:
        return _read(text(key), given[key][1], path.parent) if key in given else None

    address = text("address", DEFAULT_ADDRESS)
    address_from = given["address"][1] if "address" in given else "the default"
    host, colon, port = address.rpartition(":")
    if not host or not colon or not port.isdigit() or not 0 < int(port) <= 65_535:
        raise usage(f"{address!r} ({address_from}) is not an address", "write host:port, such as 127.0.0.1:7070")
    cert, key, ca = content("cert"), content("key"), content("ca")
    if (cert is None) != (key is None):
        raise usage("a client certificate and its private key must be given together", "give both cert and key")
    tls = _truth(given.get("tls")) or ca is not None or cert is not None
    token = _token(environ.get("MPSCTL_TOKEN", ""), content("token_file"))
    if token and not tls and not address.startswith(LOOPBACK) and not _truth(given.get("insecure")):
        raise usage(
            f"the token would go to {address} in plain text, where others can read it",
            "give --tls or --ca FILE; or --insecure, if you trust the network",
        )
    return Settings(
        address=address,
        address_from=address_from,
        token=token,
        tls=tls,
        ca=ca,
        cert=cert,
        key=key,
        timeout_s=_timeout_s(given.get("timeout")),
    )


def _chosen(flags: Mapping[str, str | bool | None], environ: Mapping[str, str], path: Path) -> tuple[Values, str]:
    """Return the part of the file that has an effect, and its name for messages."""
    file = _file(path, needed="MPSCTL_CONFIG" in environ)
    name = str(flags.get(CONTEXT) or environ.get("MPSCTL_CONTEXT") or file.context)
    if not name:
        return file.values, str(path)
    if name not in file.contexts:
        nearest = get_close_matches(name, file.contexts, 1)
        raise usage(
            f"{path} has no context {name}" + (f"; did you mean {nearest[0]}?" if nearest else ""),
            f"there are: {', '.join(sorted(file.contexts))}"
            if file.contexts
            else f"add a table [contexts.{name}] to it",
        )
    return file.contexts[name], f"{path}, context {name}"


def _file(path: Path, *, needed: bool) -> File:
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX).decode()
        values = tomllib.loads(text)
    except FileNotFoundError:
        if needed:
            raise usage(f"{path} (MPSCTL_CONFIG) is not there") from None
        return File(values={}, contexts={}, context="")
    except OSError as error:
        raise usage(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise usage(f"{path} is not TOML: {error}") from None
    contexts, context = values.pop(CONTEXTS, {}), values.pop(CONTEXT, "")
    if not isinstance(contexts, dict) or not all(isinstance(table, dict) for table in contexts.values()):
        raise usage(f"{path}: {CONTEXTS} must be tables, such as [{CONTEXTS}.prod]")
    if not isinstance(context, str):
        raise usage(f"{path}: {CONTEXT} must be a text")
    return File(
        values=_values(values, str(path), (*KEYS, CONTEXT, CONTEXTS)),
        contexts={name: _values(table, f"{path}, context {name}", tuple(KEYS)) for name, table in contexts.items()},
        context=context,
    )


def _values(table: Mapping[str, object], where: str, known: Sequence[str]) -> Values:
    for name, value in table.items():
        if name not in KEYS:
            nearest = get_close_matches(name, known, 1)
            raise usage(
                f"{where}: unknown key {name}" + (f"; did you mean {nearest[0]}?" if nearest else ""),
                f"the keys are {', '.join(known)}",
            )
        if not isinstance(value, str | bool | int | float):
            raise usage(f"{where}: {name} must be a text")
    return {name: value if isinstance(value, bool) else str(value) for name, value in table.items()}


def _read(name: str, source: str, directory: Path) -> bytes:
    """Read a file that a setting names. A path in the configuration file is relative to its directory."""
    path = Path(name).expanduser()
    if not source.startswith(("--", "MPSCTL_")):
        path = directory / path
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX)
    except OSError as error:
        raise usage(f"{path} ({source}) cannot be read: {error.strerror}") from None


def _token(given: str, file: bytes | None) -> str:
    token = given.strip() or (file or b"").decode("utf-8", "replace").strip()
    if len(token) > TOKEN_CHARS_MAX or not all("!" <= char <= "~" for char in token):
        raise usage(f"a token is one line of at most {TOKEN_CHARS_MAX} visible ASCII characters; this one is not")
    if file is not None and not token:
        raise usage("the token file is empty")
    return token


def _truth(given: tuple[str | bool, str] | None) -> bool:
    return given is not None and str(given[0]).strip().lower() in {"true", "1", "yes", "on"}


def _timeout_s(given: tuple[str | bool, str] | None) -> float | None:
    from mpsctl.parse import duration  # noqa: PLC0415 - imports typer

    if given is None:
        return None
    text, source = str(given[0]), given[1]
    seconds = float(text) if text.replace(".", "", 1).isdigit() else duration(text)
    if not 0.1 <= seconds <= 3_600:
        raise usage(f"{text} ({source}) is out of range: 0.1s to 1h")
    return seconds
