package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/llm-tracer/tracer/schema"
)

// column carries one field of a reading into a record batch and back.
type column struct {
	arrow.Field
	append func(array.Builder, []schema.Reading)
	take   func(arrow.Array, []schema.Reading) bool // false: the array is of another type
}

// columns are all fields of a reading, named as in samples.
var columns = []column{
	whole("board", arrow.PrimitiveTypes.Int32, func(r *schema.Reading) *int32 { return &r.Board }),
	whole("start_ns", arrow.PrimitiveTypes.Int64, func(r *schema.Reading) *int64 { return &r.StartNS }),
	whole("end_ns", arrow.PrimitiveTypes.Int64, func(r *schema.Reading) *int64 { return &r.EndNS }),
	optional("power_instant_w", arrow.PrimitiveTypes.Float32, func(r *schema.Reading) *schema.Opt[float32] { return &r.PowerInstantW }),
	optional("power_average_w", arrow.PrimitiveTypes.Float32, func(r *schema.Reading) *schema.Opt[float32] { return &r.PowerAverageW }),
	optional("memory_power_w", arrow.PrimitiveTypes.Float32, func(r *schema.Reading) *schema.Opt[float32] { return &r.MemoryPowerW }),
	optional("power_is_new", arrow.FixedWidthTypes.Boolean, func(r *schema.Reading) *schema.Opt[bool] { return &r.PowerIsNew }),
	optional("energy_total_j", arrow.PrimitiveTypes.Float64, func(r *schema.Reading) *schema.Opt[float64] { return &r.EnergyTotalJ }),
	optional("power_limit_w", arrow.PrimitiveTypes.Float32, func(r *schema.Reading) *schema.Opt[float32] { return &r.PowerLimitW }),
	optional("gpu_utilization_pct", arrow.PrimitiveTypes.Int32, func(r *schema.Reading) *schema.Opt[int32] { return &r.GPUUtilPct }),
	optional("memory_utilization_pct", arrow.PrimitiveTypes.Int32, func(r *schema.Reading) *schema.Opt[int32] { return &r.MemoryUtilPct }),
	optional("sm_active_ratio", arrow.PrimitiveTypes.Float64, func(r *schema.Reading) *schema.Opt[float64] { return &r.SMActive }),
	optional("tensor_active_ratio", arrow.PrimitiveTypes.Float64, func(r *schema.Reading) *schema.Opt[float64] { return &r.TensorActive }),
	optional("dram_active_ratio", arrow.PrimitiveTypes.Float64, func(r *schema.Reading) *schema.Opt[float64] { return &r.DRAMActive }),
	optional("sm_clock_mhz", arrow.PrimitiveTypes.Int32, func(r *schema.Reading) *schema.Opt[int32] { return &r.SMClockMHz }),
	optional("memory_clock_mhz", arrow.PrimitiveTypes.Int32, func(r *schema.Reading) *schema.Opt[int32] { return &r.MemoryClockMHz }),
	optional("temperature_c", arrow.PrimitiveTypes.Int32, func(r *schema.Reading) *schema.Opt[int32] { return &r.TemperatureC }),
	optional("memory_temperature_c", arrow.PrimitiveTypes.Int32, func(r *schema.Reading) *schema.Opt[int32] { return &r.MemoryTempC }),
	optional("pstate", arrow.PrimitiveTypes.Int32, func(r *schema.Reading) *schema.Opt[int32] { return &r.PState }),
	optional("memory_used_bytes", arrow.PrimitiveTypes.Int64, func(r *schema.Reading) *schema.Opt[int64] { return &r.MemoryUsedB }),
	optional("throttle_reasons", arrow.PrimitiveTypes.Int64, func(r *schema.Reading) *schema.Opt[int64] { return &r.Throttle }),
	optional("clock_error_s", arrow.PrimitiveTypes.Float32, func(r *schema.Reading) *schema.Opt[float32] { return &r.ClockErrorS }),
}

type value interface {
	int32 | int64 | float32 | float64 | bool
}

type builderOf[T value] interface {
	Append(v T)
	AppendNull()
}

type arrayOf[T value] interface {
	IsNull(i int) bool
	Value(i int) T
}

func whole[T value](name string, t arrow.DataType, field func(*schema.Reading) *T) column {
	return column{
		Field: arrow.Field{Name: name, Type: t},
		append: func(b array.Builder, rows []schema.Reading) {
			to := b.(builderOf[T])
			for i := range rows {
				to.Append(*field(&rows[i]))
			}
		},
		take: func(a arrow.Array, rows []schema.Reading) bool {
			from, ok := a.(arrayOf[T])
			for i := 0; ok && i < len(rows); i++ {
				*field(&rows[i]) = from.Value(i)
			}
			return ok
		},
	}
}

func optional[T value](name string, t arrow.DataType, field func(*schema.Reading) *schema.Opt[T]) column {
	return column{
		Field: arrow.Field{Name: name, Type: t, Nullable: true},
		append: func(b array.Builder, rows []schema.Reading) {
			to := b.(builderOf[T])
			for i := range rows {
				if v := field(&rows[i]); v.OK {
					to.Append(v.V)
				} else {
					to.AppendNull()
				}
			}
		},
		take: func(a arrow.Array, rows []schema.Reading) bool {
			from, ok := a.(arrayOf[T])
			if !ok {
				return false
			}
			if a.NullN() == a.Len() {
				return true // rows are absent until they are told
			}
			for i := range rows {
				if !from.IsNull(i) {
					*field(&rows[i]) = schema.Some(from.Value(i))
				}
			}
			return true
		},
	}
}

func batchSchema() *arrow.Schema {
	fields := make([]arrow.Field, len(columns))
	for i, c := range columns {
		fields[i] = c.Field
	}
	return arrow.NewSchema(fields, nil)
}

// schemaMessage is what the stream begins with. Arrow trusts the lengths in such a message, so that one from a file is held
// against it before it is parsed.
var schemaMessage = func() []byte {
	var out bytes.Buffer
	if err := ipc.NewWriter(&out, ipc.WithSchema(batchSchema())).Close(); err != nil {
		panic("a schema that Arrow cannot write: " + err.Error())
	}
	const endOfStream = 8
	return out.Bytes()[:out.Len()-endOfStream]
}()

// columnsSum names that message.
var columnsSum = crc32.Checksum(schemaMessage, castagnoli)

// lookBytes stand before a batch: when the pipeline looked, and the two clocks.
const lookBytes = 24

func lookOf(payload []byte) (l Look, err error) {
	if len(payload) < lookBytes {
		return l, errTorn
	}
	l.NS = int64(binary.LittleEndian.Uint64(payload))
	l.Clock.MonotonicNS, l.Clock.WallNS = int64(binary.LittleEndian.Uint64(payload[8:])), int64(binary.LittleEndian.Uint64(payload[16:]))
	return l, nil
}

// Encoder writes one Arrow stream, a message at a time.
type Encoder struct {
	builder *array.RecordBuilder
	out     bytes.Buffer
	stream  *ipc.Writer
}

// NewEncoder begins a stream.
func NewEncoder(mem memory.Allocator) *Encoder {
	e := &Encoder{builder: array.NewRecordBuilder(mem, batchSchema())}
	e.stream = ipc.NewWriter(&e.out, ipc.WithSchema(batchSchema()), ipc.WithAllocator(mem))
	return e
}

// frame is a message behind the look that a journal has before it.
func (e *Encoder) frame(l Look, rows []schema.Reading) ([]byte, error) {
	e.out.Reset()
	var look [lookBytes]byte
	binary.LittleEndian.PutUint64(look[:], uint64(l.NS))
	binary.LittleEndian.PutUint64(look[8:], uint64(l.Clock.MonotonicNS))
	binary.LittleEndian.PutUint64(look[16:], uint64(l.Clock.WallNS))
	e.out.Write(look[:])
	if err := e.write(rows); err != nil {
		return nil, fmt.Errorf("writing readings into the journal: %w", err)
	}
	return e.out.Bytes(), nil
}

// Encode gives the next message, in the memory of the one before.
func (e *Encoder) Encode(rows []schema.Reading) ([]byte, error) {
	e.out.Reset()
	if err := e.write(rows); err != nil {
		return nil, err
	}
	return e.out.Bytes(), nil
}

func (e *Encoder) write(rows []schema.Reading) error {
	e.builder.Reserve(len(rows))
	for i, c := range columns {
		c.append(e.builder.Field(i), rows)
	}
	batch := e.builder.NewRecord()
	defer batch.Release()
	return e.stream.Write(batch)
}

// Rows reads readings back, behind whoever appends or replays.
type Rows struct {
	position
	Decoder
}

// Decoder reads an Arrow stream, a message at a time.
type Decoder struct {
	payloads payloads
	stream   *ipc.Reader
	mem      memory.Allocator
}

// errOther is a stream of readings that have other fields.
var errOther = errors.New("they are those of another version of tracer")

// mostRows is more than any batch has.
const mostRows = 1 << 16

// payloads is the Arrow stream that the frames' payloads make.
type payloads struct{ rest []byte }

func (p *payloads) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// Rows begins with the first reading.
func (j *Journal) Rows() *Rows {
	return &Rows{position: position{j: j, at: int64(len(magic))}, Decoder: *NewDecoder(j.mem)}
}

// Next gives the next batch of what stands before an offset, in the memory of the batch before; none where there is no more.
func (r *Rows) Next(before int64, into []schema.Reading) ([]schema.Reading, error) {
	for r.at < before {
		if to, damaged := r.j.damaged[r.at]; damaged {
			r.at = to
			continue
		}
		k, next, err := r.j.head(r.at, &r.head)
		if err != nil {
			return nil, fmt.Errorf("reading the journal back: %w", err)
		}
		if k != kindReadings {
			r.at = next
			continue
		}
		if _, err := r.read(); err != nil {
			return nil, fmt.Errorf("reading the journal back: %w", err)
		}
		return r.rows(into)
	}
	return into[:0], nil
}

func (r *Rows) rows(into []schema.Reading) (rows []schema.Reading, err error) {
	if len(r.payload) < lookBytes {
		return nil, errTorn
	}
	message := r.payload[lookBytes:]
	if r.stream == nil && !bytes.HasPrefix(message, schemaMessage) && r.j.Header.Columns == columnsSum { // the first batch is lost
		message = slices.Concat(schemaMessage, message)
	}
	rows, err = r.Decode(message, into)
	if errors.Is(err, errOther) {
		return nil, fmt.Errorf("the journal's readings: %w; recover them with tracer %s", err, r.j.Header.Run.TracerVersion)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the journal's readings: %w", err)
	}
	return rows, r.check(rows)
}

// NewDecoder begins with a stream's first message.
func NewDecoder(mem memory.Allocator) *Decoder { return &Decoder{mem: bounded{mem}} }

// Decode reads a message, in the memory of the one before.
func (d *Decoder) Decode(message []byte, into []schema.Reading) (rows []schema.Reading, err error) {
	d.payloads.rest = message
	if d.stream == nil {
		if !bytes.HasPrefix(message, schemaMessage) {
			return nil, errOther
		}
		if d.stream, err = ipc.NewReader(&d.payloads, ipc.WithAllocator(d.mem)); err != nil {
			return nil, err
		}
	}
	if !d.stream.Next() {
		return nil, firstOf(d.stream.Err(), errTorn)
	}
	return unpack(d.stream.Record(), into)
}

func firstOf(err, or error) error {
	if err != nil {
		return err
	}
	return or
}

func unpack(batch arrow.Record, into []schema.Reading) (rows []schema.Reading, err error) {
	defer func() { // Arrow trusts the lengths of a batch, and so it panics where they are wrong
		if p := recover(); p != nil {
			rows, err = nil, fmt.Errorf("%v", p)
		}
	}()
	n := int(batch.NumRows())
	if n < 0 || n > mostRows {
		return nil, errTorn
	}
	if cap(into) < n {
		into = make([]schema.Reading, n)
	}
	rows = into[:n]
	clear(rows)
	for i, c := range columns {
		if a := batch.Column(i); a.Len() != n || !c.take(a, rows) {
			return nil, fmt.Errorf("%s is of another type or length", c.Name)
		}
	}
	return rows, nil
}

// check refuses boards that the run does not have.
func (r *Rows) check(rows []schema.Reading) error {
	for i := range rows {
		if b := rows[i].Board; b < 0 || int(b) >= len(r.j.Header.Boards) {
			return fmt.Errorf("reading the journal's readings: there is no board %d", b)
		}
	}
	return nil
}

// bounded is an allocator for what a file says of its own lengths. Arrow's readers turn the panic into their error.
type bounded struct{ memory.Allocator }

func (b bounded) Allocate(size int) []byte {
	if size > largestPayload {
		panic(fmt.Sprintf("a buffer of %d bytes is longer than the journal's longest frame", size))
	}
	return b.Allocator.Allocate(size)
}

func (b bounded) Reallocate(size int, old []byte) []byte {
	if size > largestPayload {
		panic(fmt.Sprintf("a buffer of %d bytes is longer than the journal's longest frame", size))
	}
	return b.Allocator.Reallocate(size, old)
}
