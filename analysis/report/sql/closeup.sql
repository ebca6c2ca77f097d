-- What a board's power sensor showed around one request: each new value at its first reading.
SELECT round((monotonic_ns - $zero) / 1e9, 3) AS s, round(power_instant_w::DOUBLE, 2) AS value
FROM samples
WHERE run_id = $run AND host = $host AND gpu_uuid = $board AND monotonic_ns BETWEEN $from AND $to
    AND (power_is_new OR power_instant_w IS NULL)
ORDER BY monotonic_ns
LIMIT 4000
