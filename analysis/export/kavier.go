package export

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/parquet"
	parquetschema "github.com/apache/arrow/go/v17/parquet/schema"

	"github.com/llm-tracer/tracer/analysis/fit"
	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/schema"
)

// request is one request of a workload for a simulator.
type request struct {
	GPU    string  `json:"gpu_name"`
	Boards int     `json:"boards"` // that it ran on
	LLM    string  `json:"llm_name"`
	StartS float64 `json:"start_s"` // since the first of its trace
	Input  int64   `json:"input_tokens"`
	Output int64   `json:"output_tokens"`
}

// kavier writes a request trace for each kind of board and model, as CSV and as Parquet, and the constants fitted to it.
func (e *export) kavier() error {
	if err := e.traces(); err != nil {
		return err
	}
	return e.constants()
}

// constants writes what was fitted for Kavier: null, with a reason, where the data do not support it.
func (e *export) constants() error {
	fits, err := fit.Of(e.ctx, e.data, e.Choice, e.Hardware)
	if errors.Is(err, query.ErrNoneChosen) { // no valid request
		return nil
	}
	if err != nil {
		return err
	}
	for i := range fits {
		f := &fits[i]
		err := e.write(fmt.Sprintf("constants_%s_%s.json", query.ServedSlug(f.GPU, f.Boards), schema.Slug(f.LLM)), func(w io.Writer) (int64, error) {
			out := json.NewEncoder(w)
			out.SetIndent("", "  ")
			return 1, out.Encode(struct {
				GPU       string `json:"gpu_name"`
				Boards    int    `json:"boards"`
				LLM       string `json:"llm_name"`
				Simulated bool   `json:"simulated"`
				fit.Kavier
			}{f.GPU, f.Boards, f.LLM, f.Simulated, f.Kavier})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// traces writes the requests.
func (e *export) traces() error {
	var all []request
	err := e.data.Select(e.ctx, &all, `SELECT gpu_name, len(gpu_uuids) AS boards, llm_name, input_tokens, output_tokens, epoch(start_timestamp - min(start_timestamp) OVER (PARTITION BY gpu_name, len(gpu_uuids), llm_name)) AS start_s
		FROM requests WHERE `+query.Among(e.boards, schema.Requests.Name)+` AND valid AND NOT warmup AND input_tokens > 0 AND output_tokens > 0
		ORDER BY gpu_name, boards, llm_name, start_timestamp, request_id`)
	if err != nil {
		return fmt.Errorf("reading the requests: %w", err)
	}
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].GPU == all[0].GPU && all[n].Boards == all[0].Boards && all[n].LLM == all[0].LLM {
			n++
		}
		trace := all[:n]
		all = all[n:]
		name := fmt.Sprintf("trace_%s_%s", query.ServedSlug(trace[0].GPU, trace[0].Boards), schema.Slug(trace[0].LLM))
		err := e.write(name+".csv", func(w io.Writer) (int64, error) { return int64(n), kavierCSV(w, trace) })
		if err == nil {
			err = e.write(name+".parquet", func(w io.Writer) (int64, error) { return int64(n), kavierParquet(w, trace) })
		}
		if err != nil {
			return err
		}
	}
	e.notes = append(e.notes, "Valid requests whose tokens the server counted, in the order in which they were sent, warm-up left out. Every request is a session of its own, for no prompt continues another; token lists are NULL, for texts are not part of the trace.",
		"Kavier has one board and one model in a trace: give it those that the file's name tells.")
	return nil
}

func kavierCSV(w io.Writer, trace []request) error {
	out := csv.NewWriter(w)
	err := out.Write([]string{"session_id", "turn_id", "ts", "num_input_tokens", "num_output_tokens"})
	for i, r := range trace {
		err = errors.Join(err, out.Write([]string{fmt.Sprint(i), "0", fmt.Sprintf("%.6f", r.StartS), fmt.Sprint(r.Input), fmt.Sprint(r.Output)}))
	}
	out.Flush()
	return errors.Join(err, out.Error())
}

func kavierParquet(w io.Writer, trace []request) error {
	out, err := newParquet(w, "request", parquetschema.FieldList{
		required("session_id", parquet.Types.Int64), required("num_input_tokens", parquet.Types.Int64), required("num_output_tokens", parquet.Types.Int64),
		optionalText("input_tokens"), optionalText("output_tokens"),
	})
	if err != nil {
		return err
	}
	sessions, inputs, outputs := make([]int64, len(trace)), make([]int64, len(trace)), make([]int64, len(trace))
	for i, r := range trace {
		sessions[i], inputs[i], outputs[i] = int64(i), r.Input, r.Output
	}
	return errors.Join(out.group(sessions, inputs, outputs, nulls(len(trace)), nulls(len(trace))), out.close())
}
