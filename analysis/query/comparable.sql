-- What is compared of requests: valid ones, warm-up left out, in the order of time. Joules per token are of decode, over the
-- output tokens after the first.
SELECT workload, target_tokens, ttft_s, tpot_s, prefill_energy_j, decode_energy_j,
       decode_energy_j / nullif(greatest(output_tokens - 1, 0), 0) AS decode_energy_j_per_token
FROM requests WHERE valid AND NOT warmup
ORDER BY workload DESC, target_tokens, run_id, start_timestamp;
