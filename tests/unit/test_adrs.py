"""
The decision records are well-formed, and what enforces each of them exists.

A record is docs/adr/NNNN-title-with-dashes.md, in MADR 4. Its section Confirmation
names, in backticks, the checks that fail if the decision is broken:

-   `tests/unit/test_decisions.py::test_some_sentence`, with `Class::` before the
    name of a method; the path starts at the root of the repository, and the name
    is one that this very file defines;
-   `import-linter: The rules are pure`, by a contract's name in pyproject.toml.

Other words in backticks are just words, unless they have `::` in them.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "docs" / "adr"

FILE_NAME = re.compile(r"(\d{4})-[a-z0-9]+(-[a-z0-9]+)*\.md")
FRONT_MATTER = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)
STATUS = re.compile(r"proposed|accepted|rejected|deprecated|superseded by ADR-(\d{4})")
HEADING = re.compile(r"^##+ .*$", re.MULTILINE)
SECTIONS = [
    "## Context and Problem Statement",
    "## Decision Drivers",
    "## Considered Options",
    "## Decision Outcome",
    "### Consequences",
    "### Confirmation",
    "## Pros and Cons of the Options",
]
LINES = range(50, 120 + 1)

CODE_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINTER = "import-linter: "


@dataclass(frozen=True)
class Record:
    number: int
    name: str
    text: str

    @property
    def front_matter(self) -> dict[str, str]:
        found = FRONT_MATTER.match(self.text)
        lines = found[1].splitlines() if found else []
        return {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}

    @property
    def references(self) -> list[str]:
        """
        Return what Confirmation names.
        """
        _, _, below = self.text.partition("\n### Confirmation\n")
        section = re.split(r"^##+ ", below, maxsplit=1, flags=re.MULTILINE)[0]
        quoted = [re.sub(r"\s+", " ", each) for each in re.findall(r"`([^`]+)`", section)]
        return [each for each in quoted if "::" in each or each.startswith(LINTER)]


def read_records(folder: Path) -> list[Record]:
    return [
        Record(int(named[1]), path.name, path.read_text())
        for path in sorted(folder.glob("*.md"))
        if (named := FILE_NAME.fullmatch(path.name))
    ]


def problems_in(folder: Path, root: Path) -> list[str]:
    """
    Return everything that is wrong with the records in *folder*, one sentence each.
    """
    records = read_records(folder)
    if not records:
        return [f"there is no decision record in {folder}"]
    return [
        *problems_of_the_whole(records, folder),
        *problems_of_supersession(records),
        *(
            f"{record.name}: {problem}"
            for record in records
            for problem in [*problems_of_form(record), *problems_of_confirmation(record, root)]
        ),
    ]


def problems_of_the_whole(records: list[Record], folder: Path) -> Iterator[str]:
    known = {record.name for record in records}
    for path in sorted(folder.iterdir()):
        if path.name not in {*known, "README.md", "template.md"}:
            yield f"{path.name}: not named NNNN-title-with-dashes.md"
    numbers = [record.number for record in records]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"the numbers are not 1 to {len(numbers)}, each once: {numbers}"
    index = folder / "README.md"
    linked = re.findall(r"\]\((\d{4}-[^)#]*\.md)\)", index.read_text() if index.exists() else "")
    yield from (f"{name}: not in the index" for name in sorted(known - set(linked)))
    yield from (f"{name}: in the index only" for name in sorted(set(linked) - known))


def problems_of_supersession(records: list[Record]) -> Iterator[str]:
    """
    Both say so: `status: superseded by ADR-0007` there, `supersedes: ADR-0003` here.
    """
    told = {
        (record.number, int(found[1]))
        for record in records
        if (found := STATUS.fullmatch(record.front_matter.get("status", ""))) and found[1]
    }
    claimed = {
        (int(old), record.number)
        for record in records
        for old in re.findall(r"ADR-(\d{4})", record.front_matter.get("supersedes", ""))
    }
    for old, new in sorted(told - claimed):
        yield f"ADR-{old:04} says that ADR-{new:04} supersedes it, which does not say so"
    for old, new in sorted(claimed - told):
        yield f"ADR-{new:04} says that it supersedes ADR-{old:04}, which does not say so"


def problems_of_form(record: Record) -> Iterator[str]:
    status = record.front_matter.get("status", "")
    if not STATUS.fullmatch(status):
        yield f"no valid status: {status!r}"
    try:
        date.fromisoformat(record.front_matter.get("date", ""))
    except ValueError:
        yield "no date like 2026-01-31"
    prose = CODE_FENCE.sub("", record.text)
    if len(re.findall(r"^# \S", prose, re.MULTILINE)) != 1:
        yield "not exactly one title"
    headings = [heading.strip() for heading in HEADING.findall(prose)]
    if [heading for heading in headings if heading in SECTIONS] != SECTIONS:
        yield f"the sections are not, in this order, {', '.join(SECTIONS)}"
    length = len(record.text.splitlines())
    if length not in LINES:
        yield f"{length} lines, not {LINES.start} to {LINES.stop - 1}"


def problems_of_confirmation(record: Record, root: Path) -> Iterator[str]:
    if not record.references:
        yield "Confirmation names no check"
    for reference in record.references:
        if not exists(reference, root):
            yield f"Confirmation names what does not exist: {reference}"


def exists(reference: str, root: Path) -> bool:
    if reference.startswith(LINTER):
        return reference.removeprefix(LINTER) in contracts(root)
    path, *names = reference.split("::")
    module = root / path
    if module.suffix != ".py" or not module.is_file():
        return False
    return "::".join(names) in definitions(module.read_text())


# Parsing takes long, and records name the same modules again and again.
@cache
def definitions(source: str) -> frozenset[str]:
    """
    Return the names of what a module defines, methods as ``Class::method``.
    """

    def named(nodes: list[ast.stmt], within: str) -> Iterator[str]:
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield within + node.name
                if isinstance(node, ast.ClassDef):
                    yield from named(node.body, f"{within}{node.name}::")

    return frozenset(named(ast.parse(source).body, ""))


def contracts(root: Path) -> set[str]:
    settings = tomllib.loads((root / "pyproject.toml").read_text())
    return {contract["name"] for contract in settings["tool"]["importlinter"]["contracts"]}


def test_the_records_are_well_formed_and_what_enforces_them_exists() -> None:
    problems = problems_in(RECORDS, ROOT)
    assert not problems, "\n" + "\n".join(problems)


def test_every_record_that_the_code_cites_exists() -> None:
    sources = [ROOT / "pyproject.toml", *(ROOT / "src").rglob("*.py")]
    cited = {int(n) for path in sources for n in re.findall(r"ADR-(\d{4})", path.read_text())}
    assert cited <= {record.number for record in read_records(RECORDS)}


# The check itself, on a small repository

SAMPLE = """\
---
status: accepted
date: 2026-01-31
---

# Do it this way

## Context and Problem Statement

Why?

## Decision Drivers

* Time.

## Considered Options

* This way
* That way

## Decision Outcome

Chosen option: "This way", `because` it is.

### Consequences

* Good, because it is done.

### Confirmation

`tests/test_it.py::test_it_is_done` and `tests/test_it.py::Suite::test_it_stays` fail
otherwise, and so does `import-linter: One
knows nothing of two`. See `find` for how.

## Pros and Cons of the Options

### This way

* Good.

### That way

* Bad.
"""

PADDING = "\n" * (60 - len(SAMPLE.splitlines()))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "docs" / "adr"
    folder.mkdir(parents=True)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text(
        "def test_it_is_done(): ...\nclass Suite:\n    def test_it_stays(self): ...\n"
    )
    (tmp_path / "pyproject.toml").write_text(
        '[[tool.importlinter.contracts]]\nname = "One knows nothing of two"\n'
    )
    (folder / "0001-do-it-this-way.md").write_text(SAMPLE + PADDING)
    (folder / "0002-do-it-so-too.md").write_text(SAMPLE + PADDING)
    (folder / "README.md").write_text(
        "* [1](0001-do-it-this-way.md)\n* [2](0002-do-it-so-too.md)\n"
    )
    return tmp_path


def problems(repository: Path) -> list[str]:
    return problems_in(repository / "docs" / "adr", repository)


def change(repository: Path, name: str, old: str, new: str) -> None:
    path = repository / "docs" / "adr" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_well_formed_records_have_no_problem(repository: Path) -> None:
    assert problems(repository) == []


def test_no_records_are_a_problem(tmp_path: Path) -> None:
    assert "no decision record" in problems_in(tmp_path, tmp_path)[0]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("status: accepted", "status: agreed", "no valid status: 'agreed'"),
        ("status: accepted\n", "", "no valid status: ''"),
        ("---\nstatus", "status", "no valid status"),
        ("date: 2026-01-31", "date: last week", "no date"),
        ("# Do it this way\n", "", "not exactly one title"),
        ("## Considered Options", "## Considered Option", "the sections are not"),
        ("### Confirmation", "## Confirmation", "the sections are not"),
        ("## Decision Drivers", "## Decision Outcome", "the sections are not"),
        ("Why?\n", "Why?\n" * 70, "lines, not 50 to 120"),
        (PADDING, "\n", "lines, not 50 to 120"),
        ("is_done`", "was_done`", "does not exist: tests/test_it.py::test_it_was_done"),
        ("Suite::", "Other::", "does not exist"),
        ("Suite::", "", "does not exist"),
        ("tests/test_it.py::Suite", "tests/test_that.py::Suite", "does not exist"),
        ("nothing of two", "nothing of three", "does not exist"),
        ("`find`", "`Store::find`", "does not exist"),
    ],
)
def test_a_malformed_record_is_told_what_is_wrong_with_it(
    repository: Path, old: str, new: str, problem: str
) -> None:
    change(repository, "0002-do-it-so-too.md", old, new)
    found = problems(repository)
    assert found
    assert all(each.startswith("0002-do-it-so-too.md: ") for each in found)
    assert any(problem in each for each in found), found


def test_a_heading_within_a_code_block_is_none(repository: Path) -> None:
    change(
        repository, "0002-do-it-so-too.md", "Why?\n", "Why?\n\n```\n# make\n## Consequences\n```\n"
    )
    assert problems(repository) == []


def test_a_record_without_a_check_is_a_problem(repository: Path) -> None:
    path = repository / "docs" / "adr" / "0001-do-it-this-way.md"
    path.write_text(
        re.sub(
            r"### Confirmation\n\n.*?\n\n",
            "### Confirmation\n\n`find`\n\n" + "\n" * 5,
            path.read_text(),
            flags=re.DOTALL,
        )
    )
    assert problems(repository) == ["0001-do-it-this-way.md: Confirmation names no check"]


def test_a_gap_in_the_numbers_is_a_problem(repository: Path) -> None:
    folder = repository / "docs" / "adr"
    (folder / "0002-do-it-so-too.md").rename(folder / "0003-do-it-so-too.md")
    change(repository, "README.md", "0002", "0003")
    assert problems(repository) == ["the numbers are not 1 to 2, each once: [1, 3]"]


def test_a_number_used_twice_is_a_problem(repository: Path) -> None:
    folder = repository / "docs" / "adr"
    (folder / "0002-do-it-so-too.md").rename(folder / "0001-do-it-so-too.md")
    change(repository, "README.md", "0002", "0001")
    assert problems(repository) == ["the numbers are not 1 to 2, each once: [1, 1]"]


def test_another_file_among_the_records_is_a_problem(repository: Path) -> None:
    (repository / "docs" / "adr" / "0003-Notes.md").touch()
    assert problems(repository) == ["0003-Notes.md: not named NNNN-title-with-dashes.md"]


def test_the_index_is_complete(repository: Path) -> None:
    change(repository, "README.md", "0002-do-it-so-too.md", "0003-do-it-again.md")
    assert problems(repository) == [
        "0002-do-it-so-too.md: not in the index",
        "0003-do-it-again.md: in the index only",
    ]


def test_an_index_is_needed(repository: Path) -> None:
    (repository / "docs" / "adr" / "README.md").unlink()
    assert len(problems(repository)) == 2


def test_supersession_is_told_by_both(repository: Path) -> None:
    change(repository, "0001-do-it-this-way.md", "accepted", "superseded by ADR-0002")
    assert problems(repository) == [
        "ADR-0001 says that ADR-0002 supersedes it, which does not say so"
    ]
    change(repository, "0002-do-it-so-too.md", "date:", "supersedes: ADR-0001\ndate:")
    assert problems(repository) == []
    change(repository, "0001-do-it-this-way.md", "superseded by ADR-0002", "accepted")
    assert problems(repository) == [
        "ADR-0002 says that it supersedes ADR-0001, which does not say so"
    ]
