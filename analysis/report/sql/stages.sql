-- What the readings of each run, board and stage say.
SELECT run_id, host, gpu_uuid, inference_stage AS stage, count(*) AS readings, count(*) FILTER (power_is_new) AS updates,
    avg(power_instant_w) AS mean_w, max(power_instant_w) AS max_w, avg(gpu_utilization_pct) AS gpu_pct, avg(temperature_c) AS celsius
FROM samples
GROUP BY ALL
