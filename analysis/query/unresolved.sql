-- Stages that the power sensor never saw alone: their energy is known from repetitions together.
SELECT gpu_name, llm_name, workload, target_tokens, inference_stage, sum(requests)::BIGINT AS requests
FROM folds GROUP BY ALL HAVING sum(requests_resolved) = 0 ORDER BY ALL;
