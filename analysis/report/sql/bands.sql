-- Stretches of readings with one label, by their beginning: midway between two readings; the last ends with the last reading.
WITH rows AS (
    SELECT monotonic_ns, inference_stage AS stage, request_id, lag(monotonic_ns) OVER w AS before_ns,
        lag(inference_stage) OVER w AS stage_before, lag(request_id) OVER w AS request_before, max(monotonic_ns) OVER () AS last_ns
    FROM samples
    WHERE run_id = $run AND host = $host AND gpu_uuid = $board
    WINDOW w AS (ORDER BY monotonic_ns)
)
SELECT (coalesce((monotonic_ns + before_ns) / 2, monotonic_ns) - $zero) / 1e9 AS s, (last_ns - $zero) / 1e9 AS last_s, stage
FROM rows
WHERE stage IS DISTINCT FROM stage_before OR request_id IS DISTINCT FROM request_before
ORDER BY monotonic_ns
