# Rows that DuckDB reads from a store, and from a local copy: count, and how many differ, by table.
import sys

import duckdb
import pyarrow.fs as pafs
from fsspec.implementations.arrow import ArrowFSWrapper


class Store(ArrowFSWrapper):
    protocol = "store"

    @classmethod
    def _strip_protocol(cls, path):
        return path.removeprefix("store://")


store = Store(pafs.S3FileSystem(endpoint_override=sys.argv[1]))
c = duckdb.connect()
c.register_filesystem(store)
remote, local = sys.argv[2], sys.argv[3]
for table in ["samples/**/*", "requests/**/*", "folds/*", "runs/*", "prompts/*"]:
    r, l = (f"read_parquet('{root}/{table}.parquet', hive_partitioning=true, union_by_name=true)" for root in ("store://"+remote, local))
    n = c.execute(f"select count(*) from {r}").fetchone()[0]
    d = c.execute(f"select count(*) from ((from {r} except all from {l}) union all (from {l} except all from {r}))").fetchone()[0]
    print(table.split("/")[0], n, d, flush=True)
