-- When requests were sent, and when they had their first token.
SELECT (start_monotonic_ns - $zero) / 1e9 AS s, (first_token_monotonic_ns - $zero) / 1e9 AS first_token_s,
    workload, target_tokens, input_tokens, output_tokens, warmup, valid
FROM requests
WHERE run_id = $run AND host = $host
ORDER BY start_monotonic_ns
LIMIT $limit
