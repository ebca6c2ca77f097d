#!/usr/bin/env bash
# Arrow's own Parquet writer, v17 and v18, on the same file of samples and under the same encodings, in turn. They cannot share
# a program with each other's Parquet, so that each has a module of its own; main.go differs in its import paths alone.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$PWD/build/bench/arrow
rows=${ROWS:-500000}
rm -rf "$work"
mkdir -p "$work/v18"
cp bench/arrow/v18/go.mod bench/arrow/v18/go.sum "$work/v18/"
sed 's#github.com/apache/arrow/go/v17#github.com/apache/arrow-go/v18#' bench/arrow/v17/main.go >"$work/v18/main.go"
go build -C bench/arrow/v17 -o "$work/with-v17" .
go build -C "$work/v18" -o "$work/with-v18" .
go run ./scripts/big -rows "$rows" -period 20ms -out "$work/dataset" >&2
file=$(find "$work/dataset/samples" -path '*stage=decode*' -name '*.parquet' | head -n 1)
for round in 1 2 3; do
	for version in v17 v18; do
		for pages in 1 2; do
			"$work/with-$version" -in "$file" -repeats 3 -pages "$pages" >"$work/$version-pages$pages-$round.json"
		done
	done
done
python3 - "$work" <<'PYTHON'
import glob, json, statistics, sys

work = sys.argv[1]


def median(version, pages, key):
    runs = [o for path in glob.glob(f"{work}/{version}-pages{pages}-*.json") for o in json.load(open(path))]
    return statistics.median(o[key] for o in runs)


rows = []
for key, name, digits in [
    ("cpu_ns_per_row", "CPU, ns a row", 0),
    ("bytes_per_row", "file, bytes a row", 2),
    ("allocated_bytes_per_row", "allocated, bytes a row", 0),
    ("allocations_per_1000_rows", "allocations in 1,000 rows", 0),
]:
    for pages in (1, 2):
        old, new = median("v17", pages, key), median("v18", pages, key)
        rows.append([f"{name}, pages of version {pages}", f"{old:.{digits}f}", f"{new:.{digits}f}", f"{new / old:.2f}"])
table = {"head": ["", "arrow/go/v17", "arrow-go/v18", "v18 ÷ v17"], "rows": rows}
print(json.dumps({"section": "Arrow's Parquet writer: v17 and v18", "order": 53, "rows": rows, "table": table}))
PYTHON
