-- What was measured, on what, and how it ended.
SELECT run_id, host, status, simulated, llm_name, server, count(*) AS boards, string_agg(DISTINCT gpu_name, '+' ORDER BY gpu_name) AS gpu_name,
       min(start_timestamp) AS start_timestamp, max(end_timestamp) AS end_timestamp, sum(readings)::BIGINT AS readings,
       sum(readings_dropped)::BIGINT AS readings_dropped, sum(ticks_missed)::BIGINT AS ticks_missed, max(sensor_gain_error) AS sensor_gain_error
FROM runs GROUP BY run_id, host, status, simulated, llm_name, server ORDER BY start_timestamp, run_id;
