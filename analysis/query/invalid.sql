-- Why requests are not valid: one may bear several reasons.
SELECT reason, count(*) AS requests FROM (SELECT unnest(invalid_reasons) AS reason FROM requests WHERE NOT warmup) GROUP BY ALL ORDER BY ALL;
