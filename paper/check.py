"""Checks of the text that Typst does not make.

Typst itself stops at a figure that is not in the data. Here: no measured figure is typed by hand, and every reference is
both used and known.
"""

import re


class Wrong(Exception):
    """The text breaks a rule."""


UNITS = (
    r"ns|µs|ms|seconds?|min(utes)?|hours?|×|times (as|the)|%|percent|Mops|packets?|flows?|[KMG]iB|bytes? per|"
    r"instructions?|executions?|models?|mutants?|recordings?|orderings|bugs|families|preemptions|rounds"
)
FIGURE = re.compile(rf"(?<![\w@.-])\d[\d,. ]*(\s|~)*({UNITS})(?![\w])")
# What may hold digits: calls that fetch figures, figures of other authors (with their reference), constants of other
# people's definitions, mathematics, code, labels and comments.
EXCUSED = [
    re.compile(r"//[^\n]*"),
    re.compile(r"```.*?```", re.S),
    re.compile(r"`[^`]*`"),
    re.compile(r"#cited\[[^\]]*\]"),
    re.compile(r"#given\[[^\]]*\]"),
    re.compile(r"\$[^$]*\$", re.S),
    re.compile(r"<[a-z0-9:-]+>"),
    re.compile(r"\"[^\"\n]*\""),
    re.compile(r"(?<=[ (])\d[\d.]*%(?=[,)])"),  # an argument of the layout
]


def prose(name, text):
    """Fails on a figure with a unit that was typed."""
    for pattern in EXCUSED:
        text = pattern.sub(lambda m: "\n" * m[0].count("\n") + " _ ", text)
    wrong = []
    for number, line in enumerate(text.splitlines(), 1):
        wrong += [f"{name}:{number}: “{m[0].strip()}” is typed, not fetched" for m in FIGURE.finditer(line)]
    if wrong:
        raise Wrong("\n".join(wrong))


def references(texts, known):
    """Fails on a reference that is unknown, and on an entry that nothing refers to."""
    labels = {l for t in texts.values() for l in re.findall(r"<([a-z][a-z0-9:-]*)>", t)}
    used = {u.rstrip(":-") for t in texts.values() for u in re.findall(r"(?<![\w\\`])@([a-z][a-z0-9:-]*)", t)} - labels
    if unknown := used - known:
        raise Wrong(f"references that do not exist: {', '.join(sorted(unknown))}")
    if unused := known - used:
        raise Wrong(f"references that nothing uses: {', '.join(sorted(unused))}")


def everything(folder):
    """All checks of the text in `folder`."""
    files = [folder / "nulls.typ", *sorted((folder / "sections").glob("*.typ"))]
    texts = {f.name: f.read_text() for f in files}
    for name, text in texts.items():
        prose(name, text)
    known = set(re.findall(r"^@\w+\{([^,]+),", (folder / "refs.bib").read_text(), re.M))
    references(texts, known)
