-- New values of the power sensor, counted by board, stage and bin of power.
SELECT gpu_uuid, llm_name, inference_stage AS stage, floor(power_instant_w / $width)::INTEGER AS bin, count(*) AS updates
FROM samples
WHERE power_is_new AND NOT warmup AND isfinite(power_instant_w)
GROUP BY ALL ORDER BY ALL
