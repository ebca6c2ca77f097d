"""Runs the code blocks of README.md and docs/*.md, and the cells of docs/*.ipynb, in the working directory. Called by snippets.sh, which lays it out.

A block tagged sql is run by DuckDB and must give rows; one tagged python must print something that is not an empty
table; one tagged sh is run only below a line <!-- run -->, and must succeed. A block below <!-- skip --> is left alone.
The sql blocks of one document follow each other on one connection, so that the first can make views. Where Python leaves
an answer, a table of that name, it must say the same as the other answers under its heading: in the columns that they
share, whatever the order of the rows.
"""

import csv
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import duckdb

LIMIT_S = 120
EMPTY = ("Empty DataFrame", "shape: (0,")  # how pandas and polars print a table without rows
RUN, SKIP = "<!-- run -->", "<!-- skip -->"


class Failure(Exception):
    """A block did not do what a reader would expect."""


def blocks(path):
    """Yields (line of the first line of code, language, code, mark, heading above) of each fenced block."""
    mark, fence, language, start, code, heading = "", None, "", 0, [], ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        text = line.strip()
        if fence:
            if text == fence:
                yield start, language, "\n".join(code), mark, heading
                mark, fence, code = "", None, []
            else:
                code.append(line)
        elif text.startswith("```"):
            fence, language, start = "```", text[3:].strip(), number + 1
        elif text:
            heading = text if text.startswith("#") else heading
            mark = text if text in (RUN, SKIP) else ""
    if fence:
        raise Failure(f"{path}:{start - 1}: the block is not closed")


def run_sql(code, _line, _name, connection):
    result = connection.execute(code)
    rows = result.fetchall()
    if code.lstrip().upper().startswith("CREATE"):
        return "done", None
    if not rows:
        raise Failure("it gives no rows")
    names = [column[0] for column in result.description]
    return f"{len(rows)} rows", [dict(zip(names, row, strict=True)) for row in rows]


ANSWER = """
if "answer" in globals():
    answer.write_csv({path!r}) if hasattr(answer, "write_csv") else answer.to_csv({path!r}, index=False)
"""


def run_python(code, line, name, _connection):
    """Runs the code under its own line numbers, so that a traceback names the documentation's."""
    with tempfile.TemporaryDirectory() as folder:
        script, answer = pathlib.Path(folder, name.replace("/", "_")), pathlib.Path(folder, "answer.csv")
        script.write_text("\n" * (line - 1) + code + "\n" + ANSWER.format(path=str(answer)))
        out = output([sys.executable, script])
        rows = list(csv.DictReader(answer.open())) if answer.exists() else None
    if not out.strip():
        raise Failure("it prints nothing")
    if any(word in out for word in EMPTY):
        raise Failure("it finds no rows:\n" + out)
    return f"{len(out.splitlines())} lines printed", rows


def cell(value):
    """A value as all three write it: a number, or lower-case text; nothing for NULL."""
    if value is None or value == "" or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value).lower()


def sorted_rows(answer, columns):
    rows = [[cell(row[column]) for column in columns] for row in answer]
    return sorted(rows, key=lambda row: [f"{v:.6g}" if isinstance(v, float) else v for v in row])


def same(a, b):
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) if isinstance(a, float) and isinstance(b, float) else a == b


def agree(answers):
    """Compares the answers to one question; gives the number of columns that they share."""
    columns = [name for name in answers[0][0] if all(name in other[0] for other in answers)]
    if len(columns) < 2:
        raise Failure(f"the answers share only the columns {columns}")
    first, *others = [sorted_rows(answer, columns) for answer in answers]
    for other in others:
        if len(first) != len(other):
            raise Failure(f"one answer has {len(first)} rows, another {len(other)}")
        for row, its in zip(first, other, strict=True):
            if not all(map(same, row, its)):
                raise Failure(f"in the columns {columns} one answer says\n{row}, another\n{its}")
    return len(columns)


def run_sh(code, _line, _name, _connection):
    return f"{len(output(['bash', '-euo', 'pipefail', '-c', code]).splitlines())} lines printed", None


def output(command, **environment):
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S, check=False, env=os.environ | environment
    )
    if done.returncode != 0:
        raise Failure(f"exit code {done.returncode}:\n{done.stdout}{done.stderr}".rstrip())
    if os.environ.get("SNIPPETS_SHOW"):
        print(done.stdout)
    return done.stdout


RUNNERS = {"sql": run_sql, "python": run_python, "sh": run_sh}


def wanted(language, mark):
    return language in RUNNERS and mark != SKIP and (language != "sh" or mark == RUN)


def run_document(path, name, done):
    """Runs a document's blocks; gives the number of those that failed."""
    connection, questions, failed = duckdb.connect(), {}, 0
    for line, language, code, mark, heading in blocks(path):
        if not wanted(language, mark):
            continue
        try:
            said, answer = RUNNERS[language](code, line, name, connection)
            print(f"{name}:{line}: {language}: {said}", flush=True)
            done.setdefault(name, []).append(language)
            if answer:
                questions.setdefault(heading, []).append((language, answer))
        except (Failure, duckdb.Error, subprocess.TimeoutExpired) as e:
            print(f"{name}:{line}: {language}: FAILED: {e}", flush=True)
            failed += 1
    for heading, answers in questions.items():
        if "python" not in [language for language, _ in answers] or len(answers) < 2:
            continue
        try:
            print(f"{name}: {heading}: {len(answers)} answers agree in {agree([answer for _, answer in answers])} columns", flush=True)
        except Failure as e:
            print(f"{name}: {heading}: FAILED: {e}", flush=True)
            failed += 1
    return failed


def run_notebook(path, name):
    """Runs a notebook's cells one after another, without a kernel; figures are drawn and not kept."""
    cells = ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    output([sys.executable, "-c", "\n".join(cells)], MPLBACKEND="agg")
    print(f"{name}: {len(cells)} cells", flush=True)


def main():
    root = pathlib.Path(sys.argv[1])
    done, failed = {}, 0
    for path in [root / "README.md", *sorted((root / "docs").glob("*.md"))]:
        failed += run_document(path, str(path.relative_to(root)), done)
    for path in sorted((root / "docs").glob("*.ipynb")):
        try:
            run_notebook(path, str(path.relative_to(root)))
        except (Failure, subprocess.TimeoutExpired) as e:
            print(f"{path.name}: FAILED: {e}", flush=True)
            failed += 1
    missing = {"sql", "python"} - set(done.get("README.md", []))
    if missing and not failed:
        raise SystemExit(f"snippets: README.md has no block of {' or '.join(sorted(missing))}")
    if failed:
        raise SystemExit(f"snippets: {failed} failed")


if __name__ == "__main__":
    main()
