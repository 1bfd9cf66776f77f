"""Links, pictures, files and options that README and docs name are there. Needs no mkdocs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PAGES = [REPO / "README.md", *sorted((REPO / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(REPO)) for page in PAGES]
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^()\s]+)\)|(?:src|href)=\"([^\"]+)\"")
FILE = re.compile(r"(?<![\w/.-])((?:tools|configs|docs|tests|mmdet_maskr)/[\w./-]+\.\w+)")
BASH = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"(?<!\S)(--[a-z][\w-]+)")
# options of programs that are not ours
FOREIGN = {"--no-deps", "--strict"}


def anchors(page: Path) -> set[str]:
    """Ids of a page's headings: their own ``{ #id }``, or made of their words."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        own = re.search(r"\{ ?#([\w-]+) ?\}", heading)
        words = re.sub(r"[^\w\s-]", "", heading.lower()).split()
        found.add(own.group(1) if own else "-".join(words))
    return found


def dead_links(page: Path) -> list[str]:
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    dead = []
    for target in (a or b for a, b in LINK.findall(text)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            dead.append(target)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path):
    assert dead_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_named_files_are_there(page: Path):
    names = set(FILE.findall(page.read_text(encoding="utf-8")))
    missing = [name for name in names if not (REPO / name).exists() and "{" not in name]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_pages_are_short(page: Path):
    """Longer than a page that is read through are only those with generated tables."""
    lines = len(page.read_text(encoding="utf-8").splitlines())
    assert lines <= 250 or page.name in ("cli.md", "zoo.md", "README.md")


def test_options_in_commands_exist():
    sources = [*(REPO / "tools").iterdir(), *(REPO / "docs").rglob("*.py")]
    sources += (REPO / "mmdet_maskr").rglob("*.py")
    known = " ".join(path.read_text(encoding="utf-8") for path in sources if path.is_file())
    unknown = {
        f"{page.name}: {option}"
        for page in PAGES
        for block in BASH.findall(page.read_text(encoding="utf-8"))
        for option in OPTION.findall(block)
        if option not in FOREIGN and f'"{option}"' not in known and f"[{option}" not in known
    }
    assert unknown == set()


def test_dead_links_are_found(tmp_path: Path):
    (tmp_path / "b.md").write_text("# Two words\n## Third { #own }\n")
    page = tmp_path / "a.md"
    page.write_text(
        "[x](b.md) [x](b.md#own) [x](b.md#two-words) [y](c.md) [y](b.md#no) `[z](d.md)`"
    )
    assert dead_links(page) == ["c.md", "b.md#no"]
