-- Latencies of each workload and size: medians, and the range of nine in ten, over the requests that have nothing against
-- them but overlap.
WITH usable AS (
    SELECT *, valid OR list_distinct(invalid_reasons) = ['overlap'] AS counted
    FROM requests
    WHERE NOT warmup
)
SELECT gpu_name, len(gpu_uuids) AS boards, llm_name, workload, target_tokens, count(*) AS requests, count(*) FILTER (valid) AS valid,
    count(*) FILTER (counted) AS counted,
    median(input_tokens) FILTER (counted) AS input_tokens,
    median(output_tokens) FILTER (counted) AS output_tokens,
    quantile_disc(ttft_s, 0.05) FILTER (counted) AS ttft_lo_s,
    median(ttft_s) FILTER (counted) AS ttft_s,
    quantile_disc(ttft_s, 0.95) FILTER (counted) AS ttft_hi_s,
    quantile_disc(tpot_s, 0.05) FILTER (counted) AS tpot_lo_s,
    median(tpot_s) FILTER (counted) AS tpot_s,
    quantile_disc(tpot_s, 0.95) FILTER (counted) AS tpot_hi_s
FROM usable
GROUP BY ALL ORDER BY gpu_name, boards, llm_name, workload DESC, target_tokens
