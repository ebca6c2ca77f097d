-- What each board did over time: mean power and utilisation of every ten seconds, and the share of its readings in decode.
SELECT run_id, gpu_name, (samples.monotonic_ns - start_monotonic_ns) // 10_000_000_000 * 10 AS from_s,
       avg(power_instant_w::DOUBLE) AS mean_power_w, avg(gpu_utilization_pct) AS mean_gpu_utilization_pct, avg((stage = 'decode')::INTEGER) AS decode_share
FROM samples JOIN (SELECT DISTINCT run_id, start_monotonic_ns FROM runs) USING (run_id)
GROUP BY ALL ORDER BY ALL;
