-- A run in buckets of equal length: extremes and means of a board's readings, and how the readings were labelled.
SELECT floor((monotonic_ns - $zero) / $width)::BIGINT AS bucket,
    min(power_instant_w) AS lo, max(power_instant_w) AS hi, avg(power_instant_w) AS mean,
    avg(gpu_utilization_pct) AS gpu_pct,
    100.0 * count(*) FILTER (inference_stage = 'prefill') / count(*) AS prefill_pct,
    100.0 * count(*) FILTER (inference_stage = 'decode') / count(*) AS decode_pct,
    100.0 * count(*) FILTER (inference_stage = 'mixed') / count(*) AS mixed_pct
FROM samples
WHERE run_id = $run AND host = $host AND gpu_uuid = $board
GROUP BY ALL ORDER BY ALL
