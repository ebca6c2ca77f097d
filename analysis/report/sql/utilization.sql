-- Utilisation of one board, as read.
SELECT (monotonic_ns - $zero) / 1e9 AS s, gpu_utilization_pct AS value, false AS gap
FROM samples
WHERE run_id = $run AND host = $host AND gpu_uuid = $board AND gpu_utilization_pct IS NOT NULL
ORDER BY monotonic_ns
