package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/llm-tracer/tracer/nebula"
	"github.com/llm-tracer/tracer/sampler"
	"github.com/llm-tracer/tracer/schema"
)

// squareWave is a load that goes on and off at random, so that it keeps step with no sensor.
type squareWave struct {
	client   *nebula.Client
	averages bool // running averages are to be told: now and then it pauses for long
	work     []sampler.Work
	tokenNS  float64 // of one token, by the last answer
	failed   error
	sent     int
}

// Bounds of the wave: long enough to be told from a server's own pauses, short enough for many in a few seconds.
const (
	// warmWithin bounds the first request, before which the server may have to load its model.
	warmWithin = 60 * time.Second
	// waveWithin bounds each of the others.
	waveWithin           = 20 * time.Second
	waveOn, waveOnMore   = 60 * time.Millisecond, 300 * time.Millisecond
	waveOff, waveOffMore = 40 * time.Millisecond, 200 * time.Millisecond
	waveFirst, waveMost  = 8, 128 // tokens
	// waveLong is the longest running average that is known: short pauses hardly move it, and what came before the first
	// request, when a board may have slept, does not tell its window.
	waveLong, waveLongEvery = time.Second, 3500 * time.Millisecond
)

// warm sends the first request: a server may load its model then. What the boards did for it is work as well: running
// averages still hold it when the observation begins.
func (w *squareWave) warm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, warmWithin)
	defer cancel()
	w.request(ctx, waveFirst)
	return w.failed
}

// run sends until stop ends, and waits for the answer under way.
func (w *squareWave) run(stop context.Context) {
	for long := time.Now(); stop.Err() == nil && w.failed == nil; {
		on := float64(waveOn) + rand.Float64()*float64(waveOnMore)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(stop), waveWithin)
		w.request(ctx, min(max(int(on/w.tokenNS), 2), waveMost))
		cancel()
		off := waveOff + time.Duration(rand.Float64()*float64(waveOffMore))
		if w.averages && time.Since(long) > waveLongEvery-waveLong {
			off += waveLong
			long = time.Now().Add(off)
		}
		_ = wait(stop, off)
	}
}

func (w *squareWave) request(ctx context.Context, tokens int) {
	w.sent++
	p := &schema.Prompt{
		ID: "calibration", Workload: schema.WorkloadDecode, TargetTokens: int32(tokens), MaxTokens: int32(tokens), ExactLength: true,
		Text: fmt.Sprintf("Generate a %d word story about the number %d", tokens, rand.IntN(1e6)),
	}
	span := w.client.Ask(ctx, p, nebula.Call{RequestID: "calibration-" + strconv.Itoa(w.sent), Concurrency: 1}, nil).Span
	if span.ErrorType != "" {
		w.failed = fmt.Errorf("%s: %s", span.ErrorType, span.ErrorMessage)
		return
	}
	began, first, end := span.StartNS, span.EndNS, span.EndNS
	if span.PrefillStartNS.OK {
		began = span.PrefillStartNS.V
	}
	if span.FirstTokenNS.OK && span.LastTokenNS.OK {
		first, end = span.FirstTokenNS.V, span.LastTokenNS.V
	}
	if len(w.work) == 0 {
		w.work = append(w.work, sampler.Work{FromNS: began - int64(rested), Stage: schema.StageIdle})
	}
	w.work = append(w.work, sampler.Work{FromNS: began, Stage: schema.StagePrefill}, sampler.Work{FromNS: first, Stage: schema.StageDecode}, sampler.Work{FromNS: end, Stage: schema.StageIdle})
	w.tokenNS = max(float64(end-first)/float64(max(tokens-1, 1)), 1e5)
}
