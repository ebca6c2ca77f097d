-- How much there is of one run and board: readings, and new values of the power sensor.
SELECT count(*) AS readings, count(*) FILTER (power_is_new) AS updates
FROM samples
WHERE run_id = $run AND host = $host AND gpu_uuid = $board
