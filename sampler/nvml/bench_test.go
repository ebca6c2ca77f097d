package nvml

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/llm-tracer/tracer/internal/clock"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/sampler/sim"
	"github.com/llm-tracer/tracer/schema"
)

// benchLength is how long each way of sampling runs.
const benchLength = 3 * time.Second

func BenchmarkRead(b *testing.B) {
	l, s := openFake(b, spec(b, "H100-SXM", 0))
	board := l.Boards()[0]
	random := rand.New(rand.NewPCG(1, 2))
	for at := clock.Now() - 30e9; at < clock.Now(); at += 1e6 {
		s.Boards()[0].Set(at, random.Float64()*700, 1, 0.5)
	}
	for _, lanes := range []sampler.Lane{sampler.LanePower, sampler.LaneUtilization, sampler.LaneGPM, sampler.LaneSlow, sampler.AllLanes} {
		b.Run(strings.ReplaceAll(lanes.String(), "+", "_"), func(b *testing.B) {
			var r schema.Reading
			b.ReportAllocs()
			for b.Loop() {
				board.gpm.takenNS = clock.Now() - gpmShortestNS // so that metrics are asked for each time
				if err := board.Read(lanes, &r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSampling reads eight boards behind the C fake at 1 kHz, with the sampler and, for comparison, with a
// time.Ticker that makes the same reads. Run it with -benchtime=1x.
func BenchmarkSampling(b *testing.B) {
	var specs []sim.Spec
	for i := range 8 {
		specs = append(specs, spec(b, "H100-SXM", i))
	}
	l, _ := openFake(b, specs...)
	devices, err := l.Select("auto")
	if err != nil {
		b.Fatal(err)
	}
	plan := sampler.Plan{
		Power:       time.Millisecond,
		Utilization: 100 * time.Millisecond,
		GPM:         200 * time.Millisecond,
		Slow:        time.Second,
	}
	b.Run("sampler", func(b *testing.B) { benchSampler(b, devices, plan) })
	b.Run("ticker", func(b *testing.B) { benchTicker(b, devices, plan) })
}

type discard struct{}

func (discard) Push(*schema.Reading) bool { return true }

func benchSampler(b *testing.B, devices []sampler.Device, plan sampler.Plan) {
	for range b.N {
		s, err := sampler.New(devices, plan, discard{})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(b.Context(), benchLength)
		used := cpuTime()
		stats, err := s.Run(ctx)
		used = cpuTime() - used
		cancel()
		if err != nil {
			b.Fatal(err)
		}
		report(b, used, stats.Elapsed, stats.Ticks, stats.Missed, stats.Lateness)
		b.ReportMetric(float64(stats.Cost[0].P50.Nanoseconds()), "reading-p50-ns")
		b.ReportMetric(float64(stats.Cost[0].P99.Nanoseconds()), "reading-p99-ns")
	}
}

func benchTicker(b *testing.B, devices []sampler.Device, plan sampler.Plan) {
	for range b.N {
		var late []time.Duration
		var r schema.Reading
		used, start := cpuTime(), clock.Now()
		ticker := time.NewTicker(plan.Power)
		var slot, missed int64 // the ticker's first tick is due one period after its start
		for clock.Now() < start+int64(benchLength) {
			<-ticker.C
			now := clock.Now() - start
			got := max(now/int64(plan.Power), slot+1)
			late = append(late, time.Duration(max(now-(slot+1)*int64(plan.Power), 0)))
			missed += got - slot - 1
			slot = got
			lanes := sampler.LanePower
			for lane, period := range map[sampler.Lane]time.Duration{sampler.LaneUtilization: plan.Utilization, sampler.LaneGPM: plan.GPM, sampler.LaneSlow: plan.Slow} {
				if got%int64(period/plan.Power) == 0 {
					lanes |= lane
				}
			}
			for _, d := range devices {
				if err := d.Read(lanes, &r); err != nil {
					b.Fatal(err)
				}
			}
		}
		ticker.Stop()
		used = cpuTime() - used
		slices.Sort(late)
		report(b, used, time.Duration(clock.Now()-start), int64(len(late)), missed, sampler.Quantiles{
			P50: late[len(late)/2], P99: late[len(late)*99/100], Max: late[len(late)-1],
		})
	}
}

func report(b *testing.B, cpu, elapsed time.Duration, ticks, missed int64, late sampler.Quantiles) {
	b.ReportMetric(100*cpu.Seconds()/elapsed.Seconds(), "cpu-%")
	b.ReportMetric(100*float64(missed)/float64(ticks+missed), "missed-%")
	b.ReportMetric(float64(late.P50.Nanoseconds())/1e3, "late-p50-µs")
	b.ReportMetric(float64(late.P99.Nanoseconds())/1e3, "late-p99-µs")
	b.ReportMetric(float64(late.Max.Nanoseconds())/1e3, "late-max-µs")
}

// cpuTime is the CPU time that the process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it has no way to fail for the own process
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
