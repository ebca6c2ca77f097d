package nvml

import (
	"math"
	"unsafe"

	gonvml "github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/schema"
)

const (
	// gpmShortestNS is the shortest interval that GPM metrics are valid for, by NVIDIA (DCGM issue 310).
	gpmShortestNS = 100e6
	// gpmLongestNS is the longest that is reported: the first reading after a pause, or after the board was lost, would
	// stand for all of it.
	gpmLongestNS = 1e9
)

// gpm reads activity as the mean since the last GPM reading: it keeps two samples of the board's counters and asks for
// the metrics between them.
type gpm struct {
	supported bool
	samples   [2]gonvml.GpmSample
	handles   [2]unsafe.Pointer // of samples
	newer     int               // which of samples was taken last
	takenNS   int64             // when; 0 is never
	request   *gpmRequest
}

// gpmRequest is nvmlGpmMetricsGet_t, which go-nvml has with interfaces for samples and copies twice a call. It lies in C
// memory, where cgo does not search its 1,431 pointers for Go's at each call (10 µs on the fake).
type gpmRequest struct {
	version uint32
	count   uint32
	older   unsafe.Pointer
	newer   unsafe.Pointer
	metrics [len(gonvml.GpmMetricsGetType{}.Metrics)]gonvml.GpmMetric
}

var gpmMetricIDs = [...]gonvml.GpmMetricId{
	gonvml.GPM_METRIC_SM_UTIL,
	gonvml.GPM_METRIC_ANY_TENSOR_UTIL,
	gonvml.GPM_METRIC_DRAM_BW_UTIL,
}

// prepare asks the board for GPM and allocates the samples; without either there is no GPM.
func (g *gpm) prepare(b *Board) {
	l := b.library
	for _, symbol := range []string{"nvmlGpmQueryDeviceSupport", "nvmlGpmSampleAlloc", "nvmlGpmSampleFree"} {
		if !l.has(symbol) {
			return
		}
	}
	if b.functions[gpmSample] == nil || b.functions[gpmMetrics] == nil {
		return
	}
	support, ret := b.device.GpmQueryDeviceSupport()
	if ret != gonvml.SUCCESS || support.IsSupportedDevice == 0 {
		return
	}
	for i := range g.samples {
		if g.samples[i], ret = l.api.GpmSampleAlloc(); ret != gonvml.SUCCESS {
			g.samples[i] = nil
			return
		}
		g.handles[i] = handleOf(g.samples[i])
	}
	g.request = newRequest()
	g.supported = true
}

func (g *gpm) free(l *Library) {
	for i, s := range g.samples {
		if s != nil {
			_ = l.api.GpmSampleFree(s)
			g.samples[i] = nil
		}
	}
	freeRequest(g.request)
	g.request, g.supported, g.takenNS = nil, false, 0
}

// readGPM takes a sample and, from the second on, the metrics since the one before.
func (b *Board) readGPM(r *schema.Reading) {
	g := &b.gpm
	now := clock.Now()
	if !g.supported || g.takenNS != 0 && now-g.takenNS < gpmShortestNS {
		return
	}
	older := g.newer
	if !b.get(gpmSample, g.handles[1-older]) {
		return
	}
	since := g.takenNS
	g.newer, g.takenNS = 1-older, now
	if since == 0 || now-since > gpmLongestNS {
		return
	}
	g.request.fill(g.handles[older], g.handles[g.newer])
	if b.ask(gpmMetrics, unsafe.Pointer(g.request)) {
		r.SMActive = g.share(0)
		r.TensorActive = g.share(1)
		r.DRAMActive = g.share(2)
	}
}

func (q *gpmRequest) fill(older, newer unsafe.Pointer) {
	q.version = gonvml.GPM_METRICS_GET_VERSION
	q.count = uint32(len(gpmMetricIDs))
	q.older, q.newer = older, newer
	for i, id := range gpmMetricIDs {
		q.metrics[i] = gonvml.GpmMetric{MetricId: uint32(id)}
	}
}

// share is a metric as a share of 1; NVML has per cent.
func (g *gpm) share(i int) schema.Opt[float64] {
	m := &g.request.metrics[i]
	if gonvml.Return(m.NvmlReturn) != gonvml.SUCCESS || math.IsNaN(m.Value) || math.IsInf(m.Value, 0) || m.Value < 0 {
		return schema.Opt[float64]{}
	}
	return schema.Some(m.Value / 100)
}
