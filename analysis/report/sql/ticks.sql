-- When requests were sent, when they had their first token, and when they ended.
SELECT (start_monotonic_ns - $zero) / 1e9 AS s, (first_token_monotonic_ns - $zero) / 1e9 AS first_token_s,
    (end_monotonic_ns - $zero) / 1e9 AS end_s,
    workload, target_tokens, input_tokens, output_tokens, warmup, valid
FROM requests
WHERE run_id = $run AND host = $host
ORDER BY start_monotonic_ns
LIMIT $limit
