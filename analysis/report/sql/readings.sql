-- How much there is of each run and board: readings, new values of the power sensor, and the greatest of them.
SELECT run_id, host, gpu_uuid, count(*) AS readings, count(*) FILTER (power_is_new) AS updates, max(power_instant_w) AS max_w
FROM samples
GROUP BY ALL
