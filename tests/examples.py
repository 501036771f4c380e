"""The examples of the docs, taken from the docs."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def examples() -> dict[str, str]:
    """The code blocks of the docs whose first line names a file, by that name."""
    text = "\n".join(path.read_text() for path in (ROOT / "README.md", *ROOT.glob("docs/*.md")))
    blocks = dict.fromkeys(re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", text, re.S))
    found = {}
    for name, block in blocks:  # the same, where two pages show one
        assert name not in found or name.endswith("__init__.py"), name
        found[name] = found.get(name, "") + block
    return found
