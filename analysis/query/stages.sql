-- Power by stage. Time is cut into seconds; what was read in each is shared out among the stages by their readings, so that a
-- gap, while a board was lost for instance, is time of no stage. W of a stage with few sensor updates says more about what
-- came before it.
WITH seconds AS (
    SELECT run_id, gpu_uuid, stage, monotonic_ns // 1_000_000_000 AS second, count(*) AS rows,
           min(monotonic_ns) AS first_ns, max(monotonic_ns) AS last_ns, count(*) FILTER (power_is_new) AS updates,
           sum(power_instant_w::DOUBLE) AS power, count(power_instant_w) AS powers,
           sum(gpu_utilization_pct) AS gpu_pct, count(gpu_utilization_pct) AS gpu_pcts,
           sum(temperature_c) AS celsius, count(temperature_c) AS celsii
    FROM samples GROUP BY ALL
), gaps AS (
    SELECT run_id, gpu_uuid, second, (max(last_ns) - min(first_ns)) / nullif(sum(rows) - 1, 0) / 1e9 AS gap_s
    FROM seconds GROUP BY ALL
), means AS (
    SELECT
        gpu_name, llm_name, -- by
        stage, count(DISTINCT run_id) AS runs, sum(rows)::BIGINT AS rows, round(sum(rows * coalesce(gap_s, period_planned_s)), 6) AS seconds,
        sum(seconds.updates)::BIGINT AS power_updates, sum(power) / sum(powers) AS mean_power_w,
        sum(gpu_pct) / sum(gpu_pcts) AS mean_gpu_utilization_pct, sum(celsius) / sum(celsii) AS mean_temperature_c
    FROM seconds JOIN gaps USING (run_id, gpu_uuid, second) JOIN runs USING (run_id, gpu_uuid)
    GROUP BY ALL
), powers AS (
    SELECT
        gpu_name, llm_name, -- by
        stage, power_instant_w AS w, count(*) AS rows
    FROM samples WHERE power_instant_w IS NOT NULL GROUP BY ALL
), ranks AS (
    SELECT *, sum(rows) OVER (PARTITION BY
        gpu_name, llm_name, -- by
        stage ORDER BY w) AS upto
    FROM powers
), peaks AS (
    SELECT
        gpu_name, llm_name, -- by
        stage, min(w) FILTER (upto >= 0.95 * all_rows) AS p95_power_w
    FROM (SELECT *, max(upto) OVER (PARTITION BY
        gpu_name, llm_name, -- by
        stage) AS all_rows FROM ranks)
    GROUP BY ALL
)
FROM means NATURAL LEFT JOIN peaks ORDER BY ALL;
