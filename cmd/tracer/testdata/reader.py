"""Reads a dataset over and over, as an analyst would beside a run, until its input ends; says how often it did.

Any error of DuckDB's ends it: a file that is torn, or gone between being found and being opened.
"""

import glob
import select
import sys

import duckdb

tables = {name: f"{sys.argv[1]}/{name}/**/*.parquet" for name in ("samples", "requests")}
db, polls, rows = duckdb.connect(), 0, dict.fromkeys(tables, 0)
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0.05)[0]:
    for name, files in tables.items():
        if not glob.glob(files, recursive=True):
            continue
        n = db.execute(f"SELECT count(*), count(DISTINCT run_id) FROM read_parquet('{files}')").fetchone()[0]
        if n < rows[name]:
            sys.exit(f"{name} had {rows[name]} rows, and now has {n}")
        rows[name] = n
        polls += 1
twice = 0
if rows["samples"]:
    twice = db.execute(
        f"SELECT count(*) FROM (SELECT gpu_uuid, monotonic_ns FROM read_parquet('{tables['samples']}') GROUP BY ALL HAVING count(*) > 1)"
    ).fetchone()[0]
print(polls, rows["samples"], rows["requests"], twice)
