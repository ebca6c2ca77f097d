-- Latency by workload and size, warm-up left out, and by how many boards served. Medians are over the requests with nothing against them but overlap: with
-- concurrency, that is how the server answers.
SELECT
    gpu_name, boards, llm_name, workload, target_tokens, -- by
    count(DISTINCT run_id) AS runs, count(*) AS requests, count(*) FILTER (valid) AS valid,
    median(ttft_s) FILTER (counts) AS median_ttft_s, median(tpot_s) FILTER (counts) AS median_tpot_s,
    median(input_tokens) FILTER (counts) AS median_input_tokens, median(output_tokens) FILTER (counts) AS median_output_tokens, count(tpot_s) FILTER (counts) AS tpot_requests
FROM (SELECT *, len(gpu_uuids) AS boards, len(list_filter(invalid_reasons, lambda reason: reason <> 'overlap')) = 0 AS counts FROM requests WHERE NOT warmup)
GROUP BY ALL ORDER BY ALL;
