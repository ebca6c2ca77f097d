#!/usr/bin/env bash
# Reads a dataset with Spark and PyIceberg, and holds every column against DuckDB's reading of the same files: from a local
# folder, from an S3 server by s3a, and as Iceberg tables; and shows what a glob counts beside it when a run broke off.
#
#   run.sh [DATASET]   default: datasets/sample, which is copied
set -euo pipefail
cd "$(dirname "$0")/../.."

dataset=${1:-datasets/sample}
python=build/engines/venv/bin/python
export JARS=$PWD/build/engines/jars
export AWS_ACCESS_KEY_ID=tracer AWS_SECRET_ACCESS_KEY=tracer-secret

work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT

copy=$work/datasets
mkdir -p "$work/s3/traces"
cp -r "$dataset" "$copy"
build/tracer publish "$copy" --iceberg --warehouse "$work/lake"
build/tracer publish "$copy" --list >"$work/listing.json"

# A run that broke off while it was published: a file of it stands in its table, and no manifest names it.
stray=$(cd "$copy" && find samples -name '*.parquet' | sort | head -n 1)
cp "$copy/$stray" "${copy}/${stray%.parquet}9.parquet"

port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
scripts/versitygw.sh >/dev/null
scripts/versitygw.sh serve "$work/s3" "$port" >"$work/s3.log" 2>&1 &
server=$!
for _ in $(seq 100); do
	if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break; fi
	sleep 0.1
done

"$python" - "$copy" "$port" <<'PY'
import sys
from pyarrow import fs
store = fs.S3FileSystem(endpoint_override=f"127.0.0.1:{sys.argv[2]}", scheme="http", region="us-east-1", allow_bucket_creation=True)
fs.copy_files(sys.argv[1], "traces", destination_filesystem=store)
PY

S3_ENDPOINT=http://127.0.0.1:$port "$python" scripts/engines/spark.py "$work/listing.json" \
	"files=file://$copy" files=s3a://traces "iceberg=$work/lake/tracer" "pyiceberg=$work/lake/tracer" "glob=file://$copy" 2>"$work/spark.log" ||
	{ grep -m 20 -v '^\s*at ' "$work/spark.log" >&2; exit 1; }
