-- Energy by workload, size and stage: the mean of one request, with its 95 % interval.
-- A run's repetitions are folded already, board by board. Its boards add up: they err on their own but for their sensors'
-- gains, which may all be off to one side. Runs are averaged by their requests, and err on their own but for the gain, which
-- stays. Where runs of as many of the same board, model, workload and size scatter more than their intervals let expect, these are wider
-- by that factor (scatter, where above 1).
WITH boards AS (
    SELECT *, energy_j_hi - energy_j AS half_j, sensor_gain_error * energy_j AS gain_j
    FROM folds JOIN (SELECT run_id, gpu_uuid, sensor_gain_error FROM runs) USING (run_id, gpu_uuid)
), measured AS (
    SELECT run_id, string_agg(DISTINCT gpu_name, '+' ORDER BY gpu_name) AS gpu_name, count(*) AS boards, llm_name, workload, target_tokens, inference_stage,
           max(requests) AS requests, min(requests_resolved) AS resolved, sum(energy_j) AS j, sum(gain_j) AS gain_j,
           sqrt(sum(greatest(half_j ** 2 - gain_j ** 2, 0))) AS own_j
    FROM boards GROUP BY run_id, llm_name, workload, target_tokens, inference_stage HAVING count(*) = count(energy_j)
), alike AS (
    SELECT *, sum(requests * j) OVER same / sum(requests) OVER same AS mean_j, count(*) OVER same AS alike
    FROM measured WINDOW same AS (PARTITION BY
        gpu_name, boards, llm_name, workload, target_tokens, -- by
        gpu_name, boards, llm_name, workload, target_tokens, inference_stage)
), scattered AS (
    SELECT *, sqrt(sum((1.96 * (j - mean_j) / nullif(own_j, 0)) ** 2) OVER same / nullif(alike - 1, 0)) AS scatter
    FROM alike WINDOW same AS (PARTITION BY
        gpu_name, boards, llm_name, workload, target_tokens, -- by
        gpu_name, boards, llm_name, workload, target_tokens, inference_stage)
)
SELECT
    gpu_name, boards, llm_name, workload, target_tokens, -- by
    inference_stage, count(DISTINCT run_id) AS runs, sum(requests)::BIGINT AS requests, sum(resolved)::BIGINT AS requests_resolved,
    sum(requests * j) / sum(requests) AS energy_j, sum(requests * gain_j) / sum(requests) AS gain_error_j, max(scatter) AS scatter,
    sqrt(sum((requests * own_j * greatest(1, coalesce(scatter, 1))) ** 2) + sum(requests * gain_j) ** 2) / sum(requests) AS energy_j_half_interval
FROM scattered GROUP BY ALL ORDER BY ALL;
