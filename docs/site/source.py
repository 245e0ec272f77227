"""Writes the pages of docs/ as the source of a site: `python -m docs.site.source DIRECTORY`.

The pages stay what an editor and a browser of the repository show. Three things differ in their copies:

- `docs/README.md` becomes the first page, and its lists become the navigation, so that a page in no list fails the build.
- A link that leaves docs/ leads to the file in the repository.
- Comments, such as those that say how a page was generated, are left out.
"""

import re
import shutil
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
HOME = "README.md"
FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<=\]\()(?P<path>[^)\s#:]+)(?P<anchor>#[^)\s]*)?(?=\))")
LISTED = re.compile(r"^ *- [^\n]*?\[[^\]\n]+\]\((?P<page>[^)\s#]+)\.md\)", re.MULTILINE)


def page_of_site(markdown: str, name: str, repository: str) -> str:
    """Return a page as the site wants it.

    Args:
        name: of its file, below docs/.
        repository: the address under which the project's other files are found.
    """
    parts = []
    end = 0
    for fence in FENCE.finditer(markdown):
        parts += [_prose(markdown[end : fence.start()], name, repository), fence[0]]
        end = fence.end()
    text = "".join([*parts, _prose(markdown[end:], name, repository)])
    return text + navigation(markdown) if name == HOME else text


def navigation(markdown: str) -> str:
    """Return a hidden table of contents for each section of the first page that lists pages."""
    tables = []
    for section in re.split(r"^## ", markdown, flags=re.MULTILINE)[1:]:
        title, _, text = section.partition("\n")
        pages = [found["page"] for found in LISTED.finditer(text) if not found["page"].startswith("..")]
        if pages:
            tables.append("\n".join(["", "```{toctree}", ":hidden:", f":caption: {title}", "", *pages, "```", ""]))
    return "".join(tables)


def _prose(markdown: str, name: str, repository: str) -> str:
    def target(link: re.Match[str]) -> str:
        path = (DOCS / name).parent.joinpath(link["path"]).resolve()
        if not path.exists() or (path.is_relative_to(DOCS) and path.is_file()):
            # Sphinx complains of what is not there.
            return link[0] if path != DOCS / HOME else link[0].replace(HOME, "index.md")
        kind = "tree" if path.is_dir() else "blob"
        return f"{repository}/{kind}/main/{path.relative_to(ROOT).as_posix()}{link['anchor'] or ''}"

    return LINK.sub(target, re.sub(r"<!--.*?-->\n*", "", markdown, flags=re.DOTALL))


def write(directory: Path) -> None:
    """Write all pages and what they link to below docs/ into a directory, which is emptied first."""
    repository = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
    shutil.rmtree(directory, ignore_errors=True)
    for file in sorted([*DOCS.rglob("*.md"), *DOCS.rglob("*.json")]):
        name = file.relative_to(DOCS).as_posix()
        copy = directory / ("index.md" if name == HOME else name)
        copy.parent.mkdir(parents=True, exist_ok=True)
        text = file.read_text(encoding="utf-8")
        copy.write_text(page_of_site(text, name, repository) if file.suffix == ".md" else text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
