package export

import (
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/parquet"
	parquetschema "github.com/apache/arrow/go/v17/parquet/schema"

	"github.com/llm-tracer/tracer/analysis/query"
)

// Columns, types, repetition and annotations are those of TASK_SCHEMA and FRAGMENT_SCHEMA in OpenDC's
// org.opendc.trace.formats.workload.parquet, without its optional columns for names, dependencies and deadlines.
var (
	taskColumns = parquetschema.FieldList{
		required("id", parquet.Types.Int32), requiredMillis("submission_time"), required("duration", parquet.Types.Int64),
		required("cpu_count", parquet.Types.Int32), required("cpu_capacity", parquet.Types.Double), required("mem_capacity", parquet.Types.Int64),
		optional("gpu_count", parquet.Types.Int32), optional("gpu_capacity", parquet.Types.Double),
	}
	fragmentColumns = parquetschema.FieldList{
		required("id", parquet.Types.Int32), required("duration", parquet.Types.Int64), required("cpu_usage", parquet.Types.Double),
		optional("gpu_usage", parquet.Types.Double),
	}
)

// cpuMHz is the one core that a task is given and does not use: tracer reads no CPU, and OpenDC wants one.
const cpuMHz = 1000.0

// task is one board in one run. One for each request would count overlaps twice.
type task struct {
	query.Board
	id                      int32
	submittedMS, durationMS int64
	fragments, held         int64 // of them, intervals without a utilisation, which have that of the one before
}

// capacity is all cores at their highest clock, in MHz.
func (t *task) capacity() float64 { return float64(*t.Cores) * float64(*t.MaxSMMHz) }

// opendc writes a workload, tasks.parquet and fragments.parquet, and the topology that it runs on.
func (e *export) opendc() error {
	var tasks []*task
	err := e.write("fragments.parquet", func(w io.Writer) (rows int64, err error) {
		out, err := newParquet(w, "resource_state", fragmentColumns)
		if err != nil {
			return 0, err
		}
		f := &fragments{out: out}
		for _, b := range e.boards {
			t := &task{Board: b, id: int32(len(tasks))}
			if b.Cores == nil || b.MaxSMMHz == nil || b.MemoryBytes == nil {
				e.notes = append(e.notes, fmt.Sprintf("Left out: %s of run %s, which does not tell its cores, highest clock or memory.", b.Name, b.RunID))
				continue
			}
			if err := e.fragments(t, f); err != nil {
				return 0, err
			}
			if t.fragments == 0 { // OpenDC drops a task without fragments
				e.notes = append(e.notes, fmt.Sprintf("Left out: %s of run %s, which has no utilisation.", b.Name, b.RunID))
				continue
			}
			rows += t.fragments
			tasks = append(tasks, t)
		}
		return rows, errors.Join(f.flush(), out.close())
	})
	if err != nil || len(tasks) == 0 {
		return err
	}
	if err := e.tasks(tasks); err != nil {
		return err
	}
	return e.topology(tasks)
}

// fragments writes the intervals between a board's readings, each with the utilisation read at its end, which is of the
// time before. Instants are rounded to milliseconds, not durations: rounding does not add up.
func (e *export) fragments(t *task, to *fragments) error {
	rows, err := e.data.Rows(e.ctx, `SELECT monotonic_ns, epoch_ms(timestamp), gpu_utilization_pct FROM samples
		WHERE run_id = ? AND gpu_uuid = ? ORDER BY monotonic_ns`, t.RunID, t.UUID)
	if err != nil {
		return fmt.Errorf("reading the samples of %s: %w", t.RunID, err)
	}
	defer rows.Close() //nolint:errcheck // Err tells
	var first, last, held int64
	var usage *float64
	for rows.Next() {
		var ns, wallMS int64
		var percent *float64
		if err := rows.Scan(&ns, &wallMS, &percent); err != nil {
			return fmt.Errorf("reading the samples of %s: %w", t.RunID, err)
		}
		if usage == nil { // the first that is known begins the task
			usage, first, t.submittedMS = percent, ns, wallMS
			continue
		}
		if percent == nil {
			held++
		} else {
			usage = percent
		}
		if end := (ns - first + 500_000) / 1_000_000; end > last {
			if err := to.add(t.id, end-last, *usage/100*t.capacity()); err != nil {
				return err
			}
			last = end
			t.fragments++
		}
	}
	t.durationMS, t.held = last, held
	return rows.Err()
}

// fragments are rows on their way into fragments.parquet.
type fragments struct {
	out      *parquetFile
	id       []int32
	duration []int64
	cpu, gpu []float64
}

func (f *fragments) add(id int32, durationMS int64, gpuMHz float64) error {
	f.id, f.duration = append(f.id, id), append(f.duration, durationMS)
	f.cpu, f.gpu = append(f.cpu, 0), append(f.gpu, gpuMHz)
	if len(f.id) < groupRows {
		return nil
	}
	return f.flush()
}

func (f *fragments) flush() error {
	if len(f.id) == 0 {
		return nil
	}
	err := f.out.group(f.id, f.duration, f.cpu, f.gpu)
	f.id, f.duration, f.cpu, f.gpu = f.id[:0], f.duration[:0], f.cpu[:0], f.gpu[:0]
	return err
}

// tasks writes tasks.parquet. gpu_count is cores, as OpenDC counts them on a host: a task has its board to itself.
func (e *export) tasks(tasks []*task) error {
	var ids, cpus, cores []int32
	var submitted, durations, memory []int64
	var cpuCapacity, gpuCapacity []float64
	for _, t := range tasks {
		ids, cpus, cores = append(ids, t.id), append(cpus, 1), append(cores, int32(*t.Cores))
		submitted, durations, memory = append(submitted, t.submittedMS), append(durations, t.durationMS), append(memory, *t.MemoryBytes>>20)
		cpuCapacity, gpuCapacity = append(cpuCapacity, cpuMHz), append(gpuCapacity, t.capacity())
		note := fmt.Sprintf("Task %d: %s of run %s, %d fragments", t.id, t.Name, t.RunID, t.fragments)
		if t.held > 0 {
			note += fmt.Sprintf("; utilisation is read less often than power: %d readings have that of the one before", t.held)
		}
		e.notes = append(e.notes, note+".")
	}
	return e.write("tasks.parquet", func(w io.Writer) (int64, error) {
		out, err := newParquet(w, "resource", taskColumns)
		if err != nil {
			return 0, err
		}
		err = out.group(ids, submitted, durations, cpus, cpuCapacity, memory, cores, gpuCapacity)
		return int64(len(tasks)), errors.Join(err, out.close())
	})
}

// kind is the board's short name, and of how many it was one, if not the only one.
func (t *task) kind() string {
	if t.Boards > 1 {
		return fmt.Sprintf("%s-of-%d", query.ShortName(t.Name), t.Boards)
	}
	return query.ShortName(t.Name)
}

// kinds are the boards of different kinds among tasks, and how many of each there are.
func kinds(tasks []*task) (each []*task, count map[string]int) {
	count = map[string]int{}
	for _, t := range tasks {
		if count[t.kind()]++; count[t.kind()] == 1 {
			each = append(each, t)
		}
	}
	return each, count
}
