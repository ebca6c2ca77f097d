"""Runs the code blocks of README.md and docs/*.md in the working directory. Called by snippets.sh, which lays it out.

A block tagged sql is run by DuckDB and must give rows; one tagged python must print something that is not an empty
table; one tagged sh is run only below a line <!-- run -->, and must succeed. A block below <!-- skip --> is left alone.
"""

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
    """Yields (line of the first line of code, language, code, mark) of each fenced block."""
    mark, fence, language, start, code = "", None, "", 0, []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        text = line.strip()
        if fence:
            if text == fence:
                yield start, language, "\n".join(code), mark
                mark, fence, code = "", None, []
            else:
                code.append(line)
        elif text.startswith("```"):
            fence, language, start = "```", text[3:].strip(), number + 1
        elif text:
            mark = text if text in (RUN, SKIP) else ""
    if fence:
        raise Failure(f"{path}:{start - 1}: the block is not closed")


def run_sql(code, _line, _name):
    rows = duckdb.connect().execute(code).fetchall()
    if not rows:
        raise Failure("it gives no rows")
    return f"{len(rows)} rows"


def run_python(code, line, name):
    """Runs the code under its own line numbers, so that a traceback names the documentation's."""
    with tempfile.TemporaryDirectory() as folder:
        script = pathlib.Path(folder, name.replace("/", "_"))
        script.write_text("\n" * (line - 1) + code + "\n")
        out = output([sys.executable, script])
    if not out.strip():
        raise Failure("it prints nothing")
    if any(word in out for word in EMPTY):
        raise Failure("it finds no rows:\n" + out)
    return f"{len(out.splitlines())} lines printed"


def run_sh(code, _line, _name):
    return f"{len(output(['bash', '-euo', 'pipefail', '-c', code]).splitlines())} lines printed"


def output(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode != 0:
        raise Failure(f"exit code {done.returncode}:\n{done.stdout}{done.stderr}".rstrip())
    if os.environ.get("SNIPPETS_SHOW"):
        print(done.stdout)
    return done.stdout


RUNNERS = {"sql": run_sql, "python": run_python, "sh": run_sh}


def wanted(language, mark):
    return language in RUNNERS and mark != SKIP and (language != "sh" or mark == RUN)


def main():
    root = pathlib.Path(sys.argv[1])
    done, failed = {}, 0
    for path in [root / "README.md", *sorted((root / "docs").glob("*.md"))]:
        name = str(path.relative_to(root))
        for line, language, code, mark in blocks(path):
            if not wanted(language, mark):
                continue
            try:
                print(f"{name}:{line}: {language}: {RUNNERS[language](code, line, name)}", flush=True)
                done.setdefault(name, []).append(language)
            except (Failure, duckdb.Error, subprocess.TimeoutExpired) as e:
                print(f"{name}:{line}: {language}: FAILED: {e}", flush=True)
                failed += 1
    missing = {"sql", "python"} - set(done.get("README.md", []))
    if missing and not failed:
        raise SystemExit(f"snippets: README.md has no block of {' or '.join(sorted(missing))}")
    if failed:
        raise SystemExit(f"snippets: {failed} failed")


if __name__ == "__main__":
    main()
