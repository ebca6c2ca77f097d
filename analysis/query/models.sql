-- Which model was asked on which board, by which server, and what came of the requests.
SELECT r.gpu_name, r.llm_name, r.server, r.engine_version, r.simulated, count(DISTINCT r.run_id) AS runs, min(r.start_timestamp) AS first_start, max(r.end_timestamp) AS last_end,
       sum(q.sent)::BIGINT AS requests, sum(q.valid)::BIGINT AS valid, sum(q.failed)::BIGINT AS failed
FROM (SELECT run_id, string_agg(DISTINCT gpu_name, '+' ORDER BY gpu_name) AS gpu_name, any_value(llm_name) AS llm_name, any_value(server) AS server, any_value(engine_version) AS engine_version,
             bool_or(simulated) AS simulated, min(start_timestamp) AS start_timestamp, max(end_timestamp) AS end_timestamp FROM runs GROUP BY run_id) AS r
LEFT JOIN (SELECT run_id, count(*) AS sent, count(*) FILTER (valid) AS valid, count(*) FILTER (error_type IS NOT NULL) AS failed FROM requests WHERE NOT warmup GROUP BY run_id) AS q USING (run_id)
GROUP BY ALL ORDER BY ALL;
