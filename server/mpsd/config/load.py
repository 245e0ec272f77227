"""From a file, the environment and flags to a configuration, or to the list of everything that is wrong."""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from mpsd.config.checks import contradictions
from mpsd.config.overrides import override
from mpsd.config.problems import problems_of
from mpsd.config.references import resolve
from mpsd.config.root import Config
from mpsd.config.secret import Surroundings
from mpsd.errors import ConfigError, Problem


def load(path: str | Path, environ: Mapping[str, str], flags: Mapping[str, object] | None = None) -> Config:
    """Return the configuration of a TOML file, with the values that the environment and flags set.

    Args:
        environ: where secrets and `MPS_<TABLE>_<KEY>` are looked up.
        flags: values by dotted path, such as `{"kafka.client_id": "mps-1"}`.

    Raises:
        ConfigError: something is wrong; all of it is listed.
    """
    return validate(_read(Path(path)), environ=environ, directory=Path(path).parent, flags=flags)


def validate(
    tree: Mapping[str, object],
    *,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
    flags: Mapping[str, object] | None = None,
) -> Config:
    """Return the configuration of a parsed file; see `load`.

    Raises:
        ConfigError: something is wrong; all of it is listed.
    """
    around = Surroundings(environ=environ or {}, directory=directory or Path())
    merged, origins, problems = override(tree, Config, around.environ, flags or {})
    merged, unresolved = resolve(merged, around.environ)
    problems.extend(unresolved.values())
    bad = set(unresolved)
    config = None
    try:
        config = Config.model_validate(merged, context=around)
    except ValidationError as error:
        for path, problem in problems_of(error, Config, merged):
            if any(path[: len(each)] == each for each in unresolved):
                continue
            bad.add(path)
            origin = origins.get(path[:2])
            hint = "; ".join(part for part in (problem.hint, f"set by {origin}" if origin else "") if part)
            problems.append(replace(problem, hint=hint))
    problems.extend(contradictions(merged, bad))
    if problems or config is None:
        raise ConfigError(problems)
    return config


def _read(path: Path) -> dict[str, object]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _unusable(path, f"is not UTF-8 text (byte {error.start})") from None
    except (OSError, ValueError) as error:
        raise _unusable(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise _unusable(path, f"is not TOML: {error}") from None
    except RecursionError:
        raise _unusable(path, "is nested too deeply") from None


def _unusable(path: Path, message: str) -> ConfigError:
    return ConfigError([Problem(path=str(path), message=message)])
