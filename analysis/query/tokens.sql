-- What an output token costs, by the answer's length: decode's joules and seconds over the tokens after the first.
SELECT gpu_name, len(gpu_uuids) AS boards, llm_name, target_tokens, count(*) AS requests, avg(decode_energy_j / (output_tokens - 1)) AS joules_per_token, avg(tpot_s) AS seconds_per_token
FROM requests WHERE valid AND NOT warmup AND workload = 'decode' AND output_tokens > 1
GROUP BY ALL ORDER BY ALL;
