"""Rules that no linter holds.

Each rule is a function that returns its complaints; it is shown one thing to complain of before it sees the tree.
"""

import ast
import re
import subprocess
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement

from tests import commit_subjects

ROOT = Path(__file__).parent.parent
ARGUMENTS_MAX = 8
LINES_ALONE_MIN = 60
IMPORTS_MAX = 12
VOCABULARY = re.compile(r"mpsd(\.(core\..+|errors|ports))?$")
"""Values, errors and interfaces, which a module names without depending on a mechanism."""
ROOTS = {
    "server/mpsd/pipeline/pipeline.py": "connects the stages of a subscription",
    "server/mpsd/service/build.py": "makes every part of the configuration",
    "server/mpsd/service/daemon.py": "starts and stops every part",
}
"""Modules whose work is to bring other modules together: see docs/decisions/modules.md."""
OPENING = re.compile(
    r"(?:as|how|it|its|of|that|the same|those|what(?:ever)?|when|where|whether|which|who|whom|whose|why)\b",
    re.IGNORECASE,
)
VAGUE = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:root|home|Users|work|workspace)/[\w.-]+|site-packages/")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def listed(*git_arguments: str) -> list[Path]:
    """Files as git lists them, those deleted in the work tree left out."""
    lines = subprocess.run(
        ["git", "ls-files", *git_arguments], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return [ROOT / line for line in lines.splitlines() if (ROOT / line).is_file()]


FILES = listed("--cached", "--others", "--exclude-standard")
SOURCES = [
    file for file in FILES if file.suffix == ".py" and file.relative_to(ROOT).parts[0] in {"server", "cli", "clients"}
]
MARKDOWN = [file for file in FILES if file.suffix == ".md"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def named(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


# The rules


def untested(modules: Iterable[str], tests: Iterable[str]) -> list[str]:
    return sorted(
        {module for module in modules if module != "__init__"} - {test.removeprefix("test_") for test in tests}
    )


def badly_opened(text: str) -> list[str]:
    """Return the first lines of docstrings, also beneath constants and fields, that begin with a word that names nothing."""
    alone = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Expr)]
    texts = [each.value.strip() for each in alone if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    return [docstring.partition("\n")[0] for docstring in texts if OPENING.match(docstring)]


def overloaded(text: str) -> list[str]:
    """Return the classes whose constructor takes too many arguments."""
    found = []
    for node in [each for each in ast.walk(ast.parse(text)) if isinstance(each, ast.ClassDef)]:
        for method in [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]:
            taken = method.args
            count = len([*taken.posonlyargs, *taken.args, *taken.kwonlyargs]) - 1
            found += [f"{node.name} takes {count} arguments"] if count > ARGUMENTS_MAX else []
    return found


def entangled(text: str) -> list[str]:
    """Return the modules that a module imports, if they are too many; a word of the vocabulary is none of them."""
    imports = [each for each in ast.walk(ast.parse(text)) if isinstance(each, ast.ImportFrom)]
    names = {str(each.module) for each in imports if str(each.module).split(".")[0] in {"mpsd", "mpsctl"}}
    found = sorted(name for name in names if not VOCABULARY.match(name))
    return found if len(found) > IMPORTS_MAX else []


def satellites(modules: Mapping[str, str]) -> list[str]:
    """Return the short modules that only one module of their package imports, and that belong in it.

    Args:
        modules: the text of each, by its dotted name with `.__init__` at the end of a package's.
    """
    importers: defaultdict[str, set[str]] = defaultdict(set)
    for importer, text in modules.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom):
                for name in (str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)):
                    importers[name].add(importer)
    return [
        name
        for name, text in modules.items()
        if text.count("\n") < LINES_ALONE_MIN
        and not name.endswith(("__init__", "__main__"))
        and ".ports." not in name
        and [each.rpartition(".")[0] for each in importers[name]] == [name.rpartition(".")[0]]
    ]


def vague(path: PurePosixPath) -> list[str]:
    return [part for part in (*path.parent.parts, path.stem) if part.strip("_") in VAGUE]


def titles(markdown: str) -> list[str]:
    return re.findall(r"^# +(.+)$", FENCE.sub("", markdown), re.MULTILINE)


def anchors(markdown: str) -> set[str]:
    headings = re.findall(r"^#+ +(.+?) *$", FENCE.sub("", markdown), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(markdown: str, folder: Path) -> list[str]:
    """Relative links to nothing; what `docs/` links to outside the tree is not ours to check."""
    dead = []
    for link in LINK.findall(re.sub(r"`[^`\n]*`", "", FENCE.sub("", markdown))):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        target = folder / path if path else None
        if target is not None and not target.exists():
            dead.append(link)
        elif anchor and (target is None or target.suffix == ".md"):
            text = markdown if target is None else target.read_text()
            dead.extend([link] if anchor not in anchors(text) else [])
    return dead


def floor(requirements: Iterable[str], package: str) -> str:
    """Return the least version of the package that the requirements allow."""
    (found,) = [wanted for text in requirements if (wanted := Requirement(text)).name == package]
    (version,) = [clause.version for clause in found.specifier if clause.operator in {">=", "=="}]
    return version


# The rules can fail


def test_a_module_without_a_test_is_named() -> None:
    assert untested(["__init__", "lanes", "rate"], ["test_rate"]) == ["lanes"]


@pytest.mark.parametrize("opening", ["Whether it is so.", "What\n\n    is", "The same again.", "Of all.", "it is"])
def test_a_docstring_that_opens_with_a_pronoun_is_found(opening: str) -> None:
    assert badly_opened(f'def story() -> None:\n    """{opening}"""')
    assert badly_opened(f'class Story:\n    async def told(self) -> None:\n        """{opening}"""')
    assert badly_opened(f'LONG_S = 1.0\n"""{opening}"""')
    assert badly_opened(f'class Story:\n    name: str\n    """{opening}"""')
    assert not badly_opened('"""Offsets."""\ndef story() -> None:\n    """Return the time."""\n')


def test_a_constructor_of_many_arguments_is_told_from_one_of_eight() -> None:
    eight = "class Story:\n    def __init__(self, a, b, c, d, e, f, *, g, h{more}): ..."
    assert overloaded(eight.format(more=", i")) == ["Story takes 9 arguments"]
    assert not overloaded(eight.format(more=""))


def test_a_module_of_many_imports_is_told_from_one_of_twelve() -> None:
    twelve = "".join(f"from mpsd.kafka.part{number} import Part\n" for number in range(12))
    twelve += "from mpsd.core.lanes import Lanes\nfrom mpsd.ports import Clock\nfrom mps.admin.v1 import admin_pb2\n"
    assert entangled(twelve) == []
    assert len(entangled(twelve + "def late():\n    from mpsd.admin.status import status_of\n")) == 13


def test_a_short_module_with_one_user_in_its_package_is_found() -> None:
    user = "from mpsd.core.rate import Rate\nfrom mpsd.core import steps\n"
    short = {"mpsd.core.rate": "", "mpsd.core.steps": "", "mpsd.core.lanes": user, "mpsd.core.long": "\n" * 60}
    assert satellites(short) == ["mpsd.core.rate", "mpsd.core.steps"]
    assert satellites({**short, "mpsd.admin.status": user}) == []
    assert satellites({"mpsd.ports.clock": "", "mpsd.ports.__init__": "from mpsd.ports.clock import Clock"}) == []


@pytest.mark.parametrize("path", ["server/mpsd/utils.py", "server/mpsd/common/lanes.py", "server/mpsd/core/_base.py"])
def test_a_vague_name_is_found_wherever_it_stands(path: str) -> None:
    assert vague(PurePosixPath(path))


def test_a_title_counts_only_outside_of_code() -> None:
    assert titles("# One\n## Part\n```sh\n# a comment\n```\n# Two\n") == ["One", "Two"]


@pytest.mark.parametrize("link", ["missing.md", "#nowhere", "there.md#nowhere"])
def test_a_dead_link_is_found(link: str, tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# There, and `here`\n")
    assert dead_links(f"# Title\n[text]({link})\n", tmp_path) == [link]


@pytest.mark.parametrize("link", ["there.md", "#title", "there.md#there-and-here", "https://example.com/x#y", "."])
def test_a_live_link_is_not(link: str, tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# There, and `here`\n")
    assert dead_links(f"# Title\n[text]({link})\n", tmp_path) == []


@pytest.mark.parametrize("text", ["# TODO: later", "FIXME", "a XXX b"])
def test_unfinished_work_is_found(text: str) -> None:
    assert UNFINISHED.search(text)


@pytest.mark.parametrize("text", ["cd /" + "root/x", '"/' + 'home/ann/x"', "/" + "work/main"])
def test_a_path_of_one_machine_is_found(text: str) -> None:
    assert MACHINE_PATH.search(text)


def test_a_path_of_any_machine_is_not() -> None:
    assert not MACHINE_PATH.search("GET /work, https://example.com/index, /etc/mps/mps.toml, docs/work/log")


def test_a_floor_is_read_from_its_requirement() -> None:
    assert floor(["grpcio-tools==1.2", "grpcio>=1.3", "rich>=1,<2"], "grpcio") == "1.3"


# The rules are kept


def test_every_module_of_the_core_has_a_test_of_its_name() -> None:
    modules = (file.stem for file in SOURCES if "core" in file.parts)
    assert untested(modules, (file.stem for file in FILES if file.parent == ROOT / "tests/unit/core")) == []


@pytest.mark.parametrize("file", SOURCES, ids=named)
def test_a_module_says_which_thing_it_is(file: Path) -> None:
    assert vague(PurePosixPath(named(file))) == []


@pytest.mark.parametrize("folder", ["server", "cli", "clients/python"])
def test_a_short_module_stands_with_its_only_user(folder: str) -> None:
    files = [file.relative_to(ROOT / folder) for file in SOURCES if file.is_relative_to(ROOT / folder)]
    found = satellites({".".join(file.with_suffix("").parts): (ROOT / folder / file).read_text() for file in files})
    assert found == []


@pytest.mark.parametrize("file", [each for each in SOURCES if named(each).startswith(("server/", "cli/"))], ids=named)
def test_a_constructor_takes_few_arguments(file: Path) -> None:
    """The client is left out: its subscription is a call of its users, whose options are keywords."""
    assert overloaded(file.read_text()) == []


@pytest.mark.parametrize("file", [each for each in SOURCES if named(each).startswith(("server/", "cli/"))], ids=named)
def test_a_module_imports_few_others(file: Path) -> None:
    assert bool(entangled(file.read_text())) is (named(file) in ROOTS)


@pytest.mark.parametrize("file", [each for each in FILES if each.suffix == ".py"], ids=named)
def test_a_docstring_opens_with_a_verb_or_a_noun(file: Path) -> None:
    assert badly_opened(file.read_text()) == []


@pytest.mark.parametrize("file", MARKDOWN, ids=named)
def test_a_page_has_one_title_and_live_links(file: Path) -> None:
    text = file.read_text()
    assert len(titles(text)) == 1, titles(text)
    assert dead_links(text, file.parent) == []


def test_nothing_is_left_unfinished_or_belongs_to_one_machine() -> None:
    found = []
    for file in FILES:
        if file == Path(__file__):  # it has to spell out what it looks for
            continue
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        bad = (number for number, line in enumerate(lines, 1) if UNFINISHED.search(line) or MACHINE_PATH.search(line))
        found += [f"{named(file)}:{number}" for number in bad]
    assert found == []


def test_every_commit_has_a_subject_in_form() -> None:
    complaints = {subject: commit_subjects.wrong(subject) for subject in commit_subjects.subjects()}
    assert {subject: complaint for subject, complaint in complaints.items() if complaint} == {}


def test_no_generated_stub_is_committed() -> None:
    assert [named(file) for file in listed("--cached") if re.search(r"_pb2(_grpc)?\.pyi?$", file.name)] == []


@pytest.mark.parametrize("lock", ["requirements.lock", "floors.lock", "docs/site/requirements.lock"])
def test_a_lock_names_packages_and_hashes_only(lock: str) -> None:
    """Names of mirrors are left out."""
    lines = (ROOT / lock).read_text().splitlines()
    assert [
        line for line in lines if not re.match(r"#|    #|    --hash=sha256:[0-9a-f]{64}( \\)?$|[\w.-]+==\S+", line)
    ] == []


def test_the_runtime_is_at_least_as_new_as_the_generator_of_the_stubs() -> None:
    """Generated code refuses an older runtime: who installs the oldest that we allow must not find that out."""
    build, needed = PROJECT["build-system"]["requires"], PROJECT["project"]["dependencies"]
    generator = floor(build, "grpcio-tools")
    assert {floor(needed, name) for name in ("grpcio", "grpcio-health-checking", "grpcio-reflection")} == {generator}
    stubs = ROOT / "proto/mps/admin/v1"
    assert f"GRPC_GENERATED_VERSION = '{generator}'" in (stubs / "admin_pb2_grpc.py").read_text()
    assert f"Protobuf Python Version: {floor(needed, 'protobuf')}\n" in (stubs / "admin_pb2.py").read_text()


@pytest.mark.parametrize("package", ["grpcio-tools", "mypy-protobuf", "hatchling"])
def test_a_build_in_the_environment_is_the_build_of_a_release(package: str) -> None:
    assert floor(PROJECT["dependency-groups"]["dev"], package) == floor(PROJECT["build-system"]["requires"], package)


def test_the_plain_install_brings_no_java() -> None:
    needed = {Requirement(text).name for text in PROJECT["project"]["dependencies"]}
    assert not needed & {Requirement(text).name for text in PROJECT["project"]["optional-dependencies"]["demo"]}
