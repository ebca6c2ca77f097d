-- How the requests ended, warm-up apart.
SELECT count(*) FILTER (warmup) AS warmup, count(*) FILTER (NOT warmup) AS sent, count(*) FILTER (NOT warmup AND valid) AS valid,
       count(*) FILTER (NOT warmup AND NOT valid) AS invalid,
       count(*) FILTER (NOT warmup AND error_type IS NOT NULL AND error_type <> 'interrupted') AS failed
FROM requests;
