-- The tables of tracer publish --iceberg in Trino's Iceberg connector, for a catalog named iceberg with
-- iceberg.register-table-procedure.enabled=true, whose file system reaches the warehouse and the dataset under the paths that
-- they had when they were published. A table registered so stands still: after a later publish, unregister and register it.

CREATE SCHEMA IF NOT EXISTS iceberg.tracer;

CALL iceberg.system.register_table(schema_name => 'tracer', table_name => 'samples', table_location => 'file:///data/datasets/_tracer/iceberg/tracer/samples');
CALL iceberg.system.register_table(schema_name => 'tracer', table_name => 'requests', table_location => 'file:///data/datasets/_tracer/iceberg/tracer/requests');
CALL iceberg.system.register_table(schema_name => 'tracer', table_name => 'folds', table_location => 'file:///data/datasets/_tracer/iceberg/tracer/folds');
CALL iceberg.system.register_table(schema_name => 'tracer', table_name => 'prompts', table_location => 'file:///data/datasets/_tracer/iceberg/tracer/prompts');
CALL iceberg.system.register_table(schema_name => 'tracer', table_name => 'runs', table_location => 'file:///data/datasets/_tracer/iceberg/tracer/runs');

-- Mean power by board and stage, warm-up apart.
SELECT gpu, stage, count(*) AS readings, count_if(power_is_new) AS sensor_updates, round(avg(power_instant_w), 1) AS mean_w
FROM iceberg.tracer.samples WHERE NOT warmup GROUP BY gpu, stage ORDER BY gpu, stage;

-- Energy of a request's stages, by size.
SELECT gpu, workload, target_tokens, count(*) AS requests, approx_percentile(prefill_energy_j, 0.5) AS prefill_j, approx_percentile(decode_energy_j, 0.5) AS decode_j
FROM iceberg.tracer.requests WHERE valid AND NOT warmup GROUP BY gpu, workload, target_tokens ORDER BY gpu, workload, target_tokens;
