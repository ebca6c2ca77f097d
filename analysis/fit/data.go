package fit

import (
	"context"
	"fmt"
	"slices"

	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/schema"
)

// Request is what a fit takes of one request.
type Request struct {
	RunID      string   `json:"run_id"`
	GPU        string   `json:"gpu_name"`
	LLM        string   `json:"llm_name"`
	Boards     int      `json:"boards"`
	Workload   string   `json:"workload"`
	Size       int64    `json:"target_tokens"`
	Input      int64    `json:"input_tokens"`
	Output     int64    `json:"output_tokens"`
	TTFT       float64  `json:"ttft_s"`
	Decode     float64  `json:"decode_s"` // first to last token
	PrefillJ   *float64 `json:"prefill_energy_j"`
	PrefillLo  *float64 `json:"prefill_energy_j_lo"`
	PrefillHi  *float64 `json:"prefill_energy_j_hi"`
	DecodeJ    *float64 `json:"decode_energy_j"`
	DecodeLo   *float64 `json:"decode_energy_j_lo"`
	DecodeHi   *float64 `json:"decode_energy_j_hi"`
	PrefillS   float64  `json:"prefill_s"`  // of which prefill_energy_j is
	Unresolved bool     `json:"unresolved"` // its prefill, by the power sensor
}

// readRequests reads the valid requests of the boards' runs, warm-up left out, by board and model.
func readRequests(ctx context.Context, d *query.Dataset, boards []query.Board) ([]Request, error) {
	var all []Request
	err := d.Select(ctx, &all, `SELECT run_id, gpu_name, llm_name, len(gpu_uuids) AS boards, workload, target_tokens, input_tokens, output_tokens, ttft_s,
			(last_token_monotonic_ns - first_token_monotonic_ns) / 1e9 AS decode_s,
			CASE WHEN trusted THEN prefill_energy_j END AS prefill_energy_j, prefill_energy_j_lo, prefill_energy_j_hi,
			CASE WHEN trusted THEN decode_energy_j END AS decode_energy_j, decode_energy_j_lo, decode_energy_j_hi,
			(first_token_monotonic_ns - coalesce(prefill_start_monotonic_ns, start_monotonic_ns)) / 1e9 AS prefill_s,
			NOT coalesce(sensor_resolved_prefill, false) AS unresolved
		FROM requests JOIN (SELECT run_id, bool_and(coalesce(valid, true)) AS trusted FROM runs GROUP BY run_id) USING (run_id)
		WHERE `+query.Among(boards, schema.Requests.Name)+` AND requests.valid AND NOT warmup AND ttft_s > 0 AND input_tokens > 0 AND output_tokens > 0
			AND coalesce(cached_input_tokens, 0) = 0 AND last_token_monotonic_ns IS NOT NULL
		ORDER BY gpu_name, llm_name, boards, requests.start_timestamp, request_id`)
	if err != nil {
		return nil, fmt.Errorf("reading the requests: %w", err)
	}
	return all, nil
}

// second is one second of a board: its mean power and utilisation, both over many of their sensors' values.
type second struct {
	Run         string  `json:"run_id"`
	Block       int64   `json:"block"`
	Utilisation float64 `json:"utilisation"` // 0 to 1
	PowerW      float64 `json:"power_w"`
}

// blockSeconds is how many seconds may go together: what was done then, and how warm the board was.
const blockSeconds = 5

// readSeconds reads the power of boards of one name against their utilisation. Seconds with few readings are left out.
func readSeconds(ctx context.Context, d *query.Dataset, boards []query.Board) ([]second, error) {
	var all []second
	err := d.Select(ctx, &all, fmt.Sprintf(`WITH named AS (
			SELECT *, (monotonic_ns - min(monotonic_ns) OVER (PARTITION BY run_id, gpu_uuid)) // 1000000000 AS second FROM samples WHERE %s
		)
		SELECT run_id || gpu_uuid AS run_id, second // %d AS block, avg(gpu_utilization_pct) / 100 AS utilisation, avg(power_instant_w) AS power_w
		FROM named GROUP BY run_id, gpu_uuid, second HAVING count(gpu_utilization_pct) >= 3 AND count(power_instant_w) >= 5 ORDER BY run_id, gpu_uuid, second`,
		query.Among(boards, schema.Samples.Name), blockSeconds))
	if err != nil {
		return nil, fmt.Errorf("reading power and utilisation: %w", err)
	}
	return thinned(all), nil
}

// mostSeconds is how many seconds a power model is fitted to; more would not make it better known.
const mostSeconds = 20_000

// thinned leaves out whole blocks, evenly, where there are too many seconds.
func thinned(all []second) []second {
	every := int64(len(all)/mostSeconds + 1)
	return slices.DeleteFunc(all, func(s second) bool { return s.Block%every != 0 })
}

// readIdle reads the sensor's values before a run's first request, a second of settling left out, in order.
func readIdle(ctx context.Context, d *query.Dataset, boards []query.Board) ([]second, error) {
	var all []second
	err := d.Select(ctx, &all, fmt.Sprintf(`WITH began AS (SELECT run_id, min(start_monotonic_ns) AS first FROM requests GROUP BY run_id),
			baseline AS (SELECT s.*, min(monotonic_ns) OVER (PARTITION BY run_id, gpu_uuid) AS zero FROM samples AS s JOIN began USING (run_id)
				WHERE %s AND monotonic_ns < first AND inference_stage = 'idle')
		SELECT run_id || gpu_uuid AS run_id, (monotonic_ns - zero) // 1000000000 AS block, 0::DOUBLE AS utilisation, power_instant_w::DOUBLE AS power_w
		FROM baseline WHERE power_is_new AND monotonic_ns - zero > 1000000000 ORDER BY run_id, gpu_uuid, monotonic_ns`, query.Among(boards, schema.Samples.Name)))
	if err != nil {
		return nil, fmt.Errorf("reading the idle baseline: %w", err)
	}
	return all, nil
}

// readBusy reads the mean utilisation in the middle of each request of a second or more.
func readBusy(ctx context.Context, d *query.Dataset, boards []query.Board) ([]second, error) {
	var all []second
	err := d.Select(ctx, &all, fmt.Sprintf(`SELECT request_id AS run_id, 0::BIGINT AS block, avg(gpu_utilization_pct) / 100 AS utilisation, 0::DOUBLE AS power_w
		FROM samples JOIN (SELECT request_id, start_monotonic_ns, end_monotonic_ns FROM requests WHERE valid AND NOT warmup AND latency_s >= 1) USING (request_id)
		WHERE %s AND monotonic_ns BETWEEN start_monotonic_ns + 400000000 AND end_monotonic_ns - 200000000 AND gpu_utilization_pct IS NOT NULL
		GROUP BY request_id ORDER BY request_id`, query.Among(boards, schema.Samples.Name)))
	if err != nil {
		return nil, fmt.Errorf("reading the utilisation of requests: %w", err)
	}
	return all, nil
}
