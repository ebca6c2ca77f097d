-- One row per run and board, with the instant that figures count from: the first request that was no warm-up.
SELECT
    r.run_id, r.host, r.gpu_uuid, r.gpu_index, r.gpu_name, r.llm_name, r.simulated, r.status,
    (SELECT string_agg(DISTINCT same.gpu_name, '+' ORDER BY same.gpu_name) FROM runs AS same WHERE same.run_id = r.run_id AND same.host = r.host) AS served,
    (SELECT count(*) FROM runs AS same WHERE same.run_id = r.run_id AND same.host = r.host) AS serving_boards,
    r.server, r.engine_version, r.concurrency, r.driver_version, r.cuda_version, r.cpu, r.kernel, r.tracer_version,
    strftime(r.start_timestamp AT TIME ZONE 'UTC', '%Y-%m-%d %H:%M') AS started,
    (r.end_monotonic_ns - r.start_monotonic_ns) / 1e9 AS duration_s,
    coalesce(q.zero, r.start_monotonic_ns) AS zero_ns, r.start_monotonic_ns, r.end_monotonic_ns,
    r.power_limit_w, r.idle_power_w, r.period_planned_s, r.readings_per_s, r.readings, r.readings_dropped, r.ticks_missed,
    r.sensor_period_s, r.sensor_window_s, r.sensor_provenance, r.sensor_is_average, r.sensor_gain_error, r.power_scope,
    r.call_share, len(r.period_changes) AS period_changes, array_to_string(r.gaps, '; ') AS gaps, r.readings_without_power, r.board_lost, r.clock_step_ns / 1e9 AS clock_step_s,
    r.prefill_energy_j, r.decode_energy_j, r.mixed_energy_j, r.idle_energy_j, r.energy_closure_pct, r.energy_window_s, r.energy_misfit,
    r.overhead_ttft_pct, r.overhead_ttft_pct_lo, r.overhead_ttft_pct_hi, r.overhead_tpot_pct, r.overhead_tpot_pct_lo, r.overhead_tpot_pct_hi,
    r.requests, r.requests_succeeded, r.requests_failed, r.requests_interrupted, r.requests_invalid,
    array_to_string(r.invalid_reasons, ', ') AS invalid_reasons
FROM runs AS r
LEFT JOIN (SELECT run_id, host, min(start_monotonic_ns) AS zero FROM requests WHERE NOT warmup GROUP BY ALL) AS q USING (run_id, host)
ORDER BY r.start_timestamp, r.run_id, r.host, r.gpu_index
