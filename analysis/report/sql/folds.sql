-- Energy of one request's stage by run, all its boards together, and the tokens that it went with.
WITH tokens AS (
    SELECT run_id, host, workload, target_tokens, avg(input_tokens) AS input_tokens, avg(output_tokens) AS output_tokens
    FROM requests
    WHERE valid AND NOT warmup
    GROUP BY ALL
)
SELECT f.run_id, f.host, any_value(f.llm_name) AS llm_name, f.workload, f.target_tokens, f.inference_stage AS stage,
    max(f.requests) AS requests, min(f.requests_resolved) AS resolved,
    sum(f.energy_j) AS energy_j, sum(f.energy_j_lo) AS energy_j_lo, sum(f.energy_j_hi) AS energy_j_hi,
    any_value(t.input_tokens) AS input_tokens, any_value(t.output_tokens) AS output_tokens
FROM folds AS f
JOIN tokens AS t USING (run_id, host, workload, target_tokens)
GROUP BY f.run_id, f.host, f.workload, f.target_tokens, f.inference_stage
HAVING count(f.energy_j) = count(*)
ORDER BY f.run_id, f.host, f.workload DESC, f.target_tokens, stage DESC
