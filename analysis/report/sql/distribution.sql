-- New values of the power sensor, counted by kind of board, stage and watt; warm-up is left out.
SELECT gpu_name, llm_name, inference_stage AS stage, floor(power_instant_w)::INTEGER AS w, count(*) AS updates
FROM samples
WHERE power_is_new AND NOT warmup AND power_instant_w BETWEEN 0 AND 100000
GROUP BY ALL ORDER BY ALL
