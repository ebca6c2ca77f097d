-- Where each board's energy went, run by run, and how far that is from the board's own counter.
SELECT run_id, gpu_uuid, gpu_name, llm_name, prefill_energy_j, decode_energy_j, mixed_energy_j, idle_energy_j, energy_window_s, energy_closure_pct, invalid_reasons
FROM runs ORDER BY run_id, gpu_name, gpu_uuid;
