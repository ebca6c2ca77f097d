-- Each value that a board's power sensor showed, once, at its first reading; NULL where a reading failed, and before a gap.
WITH rows AS (
    SELECT monotonic_ns, power_instant_w, power_is_new,
        monotonic_ns - lag(monotonic_ns) OVER (ORDER BY monotonic_ns) AS gap, row_number() OVER (ORDER BY monotonic_ns) AS nth
    FROM samples
    WHERE run_id = $run AND host = $host AND gpu_uuid = $board
)
SELECT (monotonic_ns - $zero) / 1e9 AS s, power_instant_w AS value, coalesce(gap > $gap, false) AS gap
FROM rows
WHERE power_is_new OR power_instant_w IS NULL OR gap > $gap OR nth = 1
ORDER BY monotonic_ns
