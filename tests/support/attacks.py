"""Which test makes which attack: reads the markers, writes docs/attacks.md.

Run as `python -m tests.support.attacks` (`make attacks`). The texts live in docs/attacks.yaml; the tests are found
by their markers, `@pytest.mark.attack("A31", ...)`, in the way of tests.support.requirements.
"""

import sys
from pathlib import Path

from tests.support.requirements import (
    PROJECT,
    Claim,
    Section,
    cell_of,
    collect_claims,
    load_sections,
    shown_by,
    tests_of,
)

TEXTS = PROJECT / "docs" / "attacks.yaml"
TABLE = PROJECT / "docs" / "attacks.md"
MARKER = "attack"

HEAD = """\
# Attacks and the tests that make them

Made by `make attacks` from [attacks.yaml](attacks.yaml) and from the tests' markers (`@pytest.mark.attack("A31")`);
do not edit. Most are made against a running federation, through its real Envoys and its real store, in
[tests/e2e/attacks](../tests/e2e/attacks): the request is refused with the status and the code that are documented, no
service is reached, one event says why, and no log holds what was sent as a credential. What is better shown on a part
by itself has its row's other tests. [CONTRIBUTING.md](../CONTRIBUTING.md#add-an-attack) says how to add one.
"""


def claims() -> list[Claim]:
    """Every marker of an attack, sorted."""
    return collect_claims(marker=MARKER)


def sections(texts: Path = TEXTS) -> list[Section]:
    """The attacks by class."""
    return load_sections(texts)


def render(known: list[Section], made: list[Claim]) -> str:
    """The whole text of docs/attacks.md."""
    shown = shown_by(made)
    lines = [HEAD]
    for section in known:
        lines += [f"## {section.title}", "", "| # | Attack | Made by |", "|---|---|---|"]
        lines += [f"| {key} | {cell_of(text)} | {tests_of(shown.get(key, []))} |" for key, text in section.rows.items()]
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """Write the table, print the attacks that no test makes; 1 if there are any, or a marker names an unknown one."""
    known, made = sections(), claims()
    rows = {key for section in known for key in section.rows}
    TABLE.write_text(render(known, made), "utf-8")
    missing = sorted(rows - shown_by(made).keys(), key=lambda key: int(key[1:]))
    unknown = [claim for claim in made if claim.requirement not in rows]
    for claim in unknown:
        sys.stderr.write(f"{claim.file}:{claim.line}: {claim.requirement} is not an attack\n")
    sys.stdout.write(f"{len(rows) - len(missing)} of {len(rows)} attacks are made by a test\n")
    if missing:
        sys.stdout.write(f"missing: {', '.join(missing)}\n")
    return 1 if unknown or missing else 0


if __name__ == "__main__":
    sys.exit(main())
