-- The valid request of median latency, of each workload's largest size: what a close-up shows.
WITH ranked AS (
    SELECT *, row_number() OVER (PARTITION BY run_id, host, workload, target_tokens ORDER BY latency_s) AS nth,
        count(*) OVER (PARTITION BY run_id, host, workload, target_tokens) AS of_them,
        max(target_tokens) OVER (PARTITION BY run_id, host, workload) AS largest
    FROM requests
    WHERE valid AND NOT warmup AND first_token_monotonic_ns IS NOT NULL AND last_token_monotonic_ns IS NOT NULL
)
SELECT run_id, host, request_id, workload, target_tokens, input_tokens, output_tokens, start_monotonic_ns,
    (coalesce(prefill_start_monotonic_ns, start_monotonic_ns) - start_monotonic_ns) / 1e9 AS prefill_s,
    (first_token_monotonic_ns - start_monotonic_ns) / 1e9 AS first_token_s,
    (last_token_monotonic_ns - start_monotonic_ns) / 1e9 AS last_token_s,
    (end_monotonic_ns - start_monotonic_ns) / 1e9 AS end_s,
    prefill_energy_j, decode_energy_j, sensor_resolved_prefill, sensor_resolved_decode
FROM ranked
WHERE target_tokens = largest AND nth = (of_them + 1) // 2
ORDER BY run_id, host, workload DESC
