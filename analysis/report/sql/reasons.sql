-- How many requests bear each reason against using them.
SELECT run_id, host, reason, count(*) AS requests
FROM (SELECT run_id, host, unnest(invalid_reasons) AS reason FROM requests WHERE NOT warmup)
GROUP BY ALL ORDER BY ALL
