-- How the boards were read: sensors, rhythm, and what was lost. One row per kind of board, driver and sensor.
SELECT gpu_name, gpu_architecture, driver_version, sensor_provenance, sensor_is_average, sensor_gain_error, power_scope,
       count(DISTINCT run_id) AS runs, count(DISTINCT gpu_uuid) AS boards, median(sensor_period_s) AS sensor_period_s, median(sensor_window_s) AS sensor_window_s,
       median(period_planned_s) AS period_planned_s, median(readings_per_s) AS readings_per_s,
       sum(readings)::BIGINT AS readings, sum(readings_dropped)::BIGINT AS readings_dropped, sum(ticks_missed)::BIGINT AS ticks_missed,
       count(*) FILTER (board_lost) AS boards_lost, count(*) FILTER (mig) AS boards_mig, count(*) FILTER (virtualization NOT IN ('none', 'passthrough')) AS boards_shared,
       median(abs(energy_closure_pct)) AS median_closure_pct, max(abs(energy_closure_pct)) AS worst_closure_pct,
       count(*) FILTER (NOT valid) AS runs_invalid, count(overhead_run_id) AS runs_with_overhead
FROM runs GROUP BY ALL ORDER BY ALL;
