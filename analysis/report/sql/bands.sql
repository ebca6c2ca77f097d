-- Stretches of readings with one label, by their beginning: midway between two readings.
WITH rows AS (
    SELECT monotonic_ns, inference_stage AS stage, request_id, lag(monotonic_ns) OVER w AS before_ns,
        lag(inference_stage) OVER w AS stage_before, lag(request_id) OVER w AS request_before
    FROM samples
    WHERE run_id = $run AND host = $host AND gpu_uuid = $board
    WINDOW w AS (ORDER BY monotonic_ns)
)
SELECT (coalesce((monotonic_ns + before_ns) / 2, monotonic_ns) - $zero) / 1e9 AS s, stage
FROM rows
WHERE stage IS DISTINCT FROM stage_before OR request_id IS DISTINCT FROM request_before
ORDER BY monotonic_ns
