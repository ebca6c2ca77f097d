"""Holds what Spark and PyIceberg read of a dataset against what DuckDB reads of its files, column by column.

    spark.py LISTING SOURCE…

LISTING is what `tracer publish DATASET --list` printed. Sources are files=URI (the dataset's root: a folder or s3a://…),
iceberg=FOLDER (the tables of `tracer publish --iceberg`), pyiceberg=FOLDER, and glob=URI: all of the folder samples, whatever
the manifests say, which must differ, since run.sh has put a file there that is not committed.
"""

import datetime
import json
import math
import os
import pathlib
import sys
import time

import duckdb

NUMBERS = ("int32", "int64", "float32", "float64")


def figures(table):
    """SQL for what is compared: rows, values that are there, sums, extremes of instants, items of lists, true ones."""
    ask = [("rows", "count(*)")]
    for column in table["columns"]:
        name, kind = column["name"], column["type"]
        ask.append((f"{name}: values", f"count({name})"))
        if kind in NUMBERS:
            ask.append((f"{name}: sum", f"sum(CAST({name} AS DOUBLE))"))
        elif kind.startswith("timestamp"):
            ask += [(f"{name}: first", f"min({name})"), (f"{name}: last", f"max({name})")]
        elif kind.startswith("list"):
            ask.append((f"{name}: items", f"sum({{size}}({name}))"))
        elif kind == "bool":
            ask.append((f"{name}: true", f"sum(CAST({name} AS INT))"))
        else:
            ask.append((f"{name}: letters", f"sum(length({name}))"))
    return ask


def question(table, size):
    keys = table["partition_keys"]
    columns = keys + [expression.format(size=size) for _, expression in figures(table)]
    return "SELECT " + ", ".join(columns) + " FROM {}" + (f" GROUP BY {', '.join(keys)} ORDER BY {', '.join(keys)}" if keys else "")


def instant(value):
    if isinstance(value, datetime.datetime) and value.tzinfo:
        return value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return value


def differences(table, expected, got):
    names = table["partition_keys"] + [name for name, _ in figures(table)]
    if len(expected) != len(got):
        yield f"{len(got)} partitions, DuckDB has {len(expected)}"
    for ours, theirs in zip(expected, got):
        for name, a, b in zip(names, map(instant, ours), map(instant, theirs)):
            close = isinstance(a, float) and isinstance(b, float) and math.isclose(a, b, rel_tol=1e-9)
            if a != b and not close:
                yield f"{'/'.join(map(str, ours[: len(table['partition_keys'])]))} {name}: {b}, DuckDB has {a}"


def by_duckdb(listing, table):
    root = listing["dataset"].removeprefix("file://")
    files = [f"{root}/{f['path']}" for f in table["files"]]
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    source = f"read_parquet({files}, union_by_name = true, hive_partitioning = {bool(table['partition_keys'])})"
    return db.execute(question(table, "len").format(source)).fetchall()


def session(sources):
    from pyspark.sql import SparkSession

    os.environ["TZ"] = "UTC"  # collected instants come in the local zone
    time.tzset()
    jars = sorted(str(j) for j in pathlib.Path(os.environ["JARS"]).glob("*.jar"))
    b = SparkSession.builder.master("local[2]").appName("tracer").config("spark.ui.enabled", "false")
    b = b.config("spark.sql.session.timeZone", "UTC").config("spark.driver.extraClassPath", ":".join(jars))
    b = b.config("spark.sql.shuffle.partitions", "2").config("spark.driver.memory", "1g").config("spark.driver.host", "127.0.0.1")
    b = b.config("spark.driver.bindAddress", "127.0.0.1").config("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
    for kind, at in sources:
        if kind == "iceberg":
            folder = pathlib.Path(at)
            b = b.config("spark.sql.catalog.lake", "org.apache.iceberg.spark.SparkCatalog").config("spark.sql.catalog.lake.type", "hadoop")
            b = b.config("spark.sql.catalog.lake.warehouse", f"file://{folder.parent}").config("spark.sql.catalog.lake.default-namespace", folder.name)
        elif at.startswith("s3a://"):
            b = b.config("spark.hadoop.fs.s3a.endpoint", os.environ["S3_ENDPOINT"]).config("spark.hadoop.fs.s3a.path.style.access", "true")
            b = b.config("spark.hadoop.fs.s3a.aws.credentials.provider", "software.amazon.awssdk.auth.credentials.EnvironmentVariableCredentialsProvider")
            b = b.config("spark.hadoop.fs.s3a.endpoint.region", "us-east-1").config("spark.hadoop.fs.s3a.connection.ssl.enabled", "false")
    spark = b.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def by_spark(spark, table, kind, at):
    if kind == "iceberg":
        return spark.sql(question(table, "size").format(f"lake.{pathlib.Path(at).name}.{table['name']}")).collect()
    reader = spark.read.option("mergeSchema", "true").option("basePath", f"{at}/{table['name']}")
    if kind == "glob":
        frame = reader.parquet(f"{at}/{table['name']}")
    else:
        frame = reader.parquet(*[f"{at}/{f['path']}" for f in table["files"]])
    frame.createOrReplaceTempView(table["name"])
    return spark.sql(question(table, "size").format(table["name"])).collect()


def by_pyiceberg(table, folder):
    from pyiceberg.table import StaticTable

    meta = pathlib.Path(folder) / table["name"] / "metadata"
    version = (meta / "version-hint.text").read_text().strip()
    rows = StaticTable.from_metadata(f"{meta}/v{version}.metadata.json").scan().to_arrow()  # noqa: F841: DuckDB finds it by name
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    return db.execute(question(table, "len").format("rows")).fetchall()


def main():
    listing = json.load(open(sys.argv[1]))
    sources = [tuple(s.split("=", 1)) for s in sys.argv[2:]]
    spark = session(sources) if any(kind != "pyiceberg" for kind, _ in sources) else None
    failed = False
    for table in listing["tables"]:
        expected = by_duckdb(listing, table)
        for kind, at in sources:
            if kind == "glob" and table["name"] != "samples":
                continue
            began = time.time()
            got = by_pyiceberg(table, at) if kind == "pyiceberg" else by_spark(spark, table, kind, at)
            found = list(differences(table, expected, got))
            rows = sum(r[len(table["partition_keys"])] for r in got)
            says = f"{len(found)} figures differ" if found else f"{len(figures(table)) * len(got)} figures as DuckDB's"
            print(f"{table['name']:8} {kind}={at}: {rows} rows, {says} ({time.time() - began:.1f} s)", flush=True)
            for line in found[:5]:
                print("   ", line)
            failed = failed or bool(found) != (kind == "glob")
    sys.exit(failed)


main()
