package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/schema"
)

const (
	sparks   = "▁▂▃▄▅▆▇█"
	barWidth = 30
	bold     = "\x1b[1m"
	dim      = "\x1b[2m"
	warning  = "\x1b[33m"
	plain    = "\x1b[0m"
)

// view is the run as a terminal of so many columns shows it.
func (l *liveRun) view(width int) string {
	h := l.from.Header
	var b strings.Builder
	line := func(format string, args ...any) { b.WriteString(clip(fmt.Sprintf(format, args...), width) + "\n") }
	line("%s%s%s: %s on %s, %s", bold, query.Printable(h.Run.ID), plain, query.Printable(h.Run.Model), query.Printable(h.Run.Server), query.Printable(h.Run.Endpoint))
	if h.Run.Simulated {
		line("%sSIMULATED: these numbers describe no real hardware.%s", warning, plain)
	}
	line("")
	for i := range l.boards {
		line("%s", l.board(i, width))
	}
	line("")
	line("%s", l.progress())
	line("%s", l.flight())
	if s := l.last(); s != nil {
		line("%s", answer(s))
	}
	prefill, decode := l.shares()
	line("last minute, of answers that are over: prefill %.0f %%, decode %.0f %%", prefill, decode)
	line("tokens so far: %d in, %d out", l.in, l.out)
	line("")
	line("%sq to leave; the run goes on%s", dim, plain)
	return b.String()
}

func (l *liveRun) board(i, width int) string {
	b := &l.boards[i]
	known := l.from.Header.Boards[i]
	head := fmt.Sprintf("%d %-14s %s  %s GPU  %s  ", known.Index, query.Printable(known.Name), watts(b.power), percent(b.gpu), celsius(b.celsius))
	room := min(historyLong, width-len([]rune(head)))
	if room < 8 || len(b.history) == 0 {
		return head
	}
	shown := b.history[max(0, len(b.history)-room):]
	top := slices.Max(b.history)
	if b.limit.OK && float64(b.limit.V) > top {
		top = float64(b.limit.V)
	}
	return head + sparkline(shown, top)
}

// sparkline draws values between 0 and a top.
func sparkline(values []float64, top float64) string {
	levels := []rune(sparks)
	var s strings.Builder
	for _, v := range values {
		s.WriteRune(levels[min(len(levels)-1, max(0, int(v/max(top, 1)*float64(len(levels)))))])
	}
	return s.String()
}

func (l *liveRun) progress() string {
	over := l.done + l.failed
	said := fmt.Sprintf("%d requests done, %d failed", l.done, l.failed)
	if l.warmed > 0 && over == 0 {
		said = "warming up"
	}
	if l.total > 0 {
		filled := min(barWidth, barWidth*over/l.total)
		said = fmt.Sprintf("[%s%s] %d of %d requests done, %d failed", strings.Repeat("█", filled), strings.Repeat("·", barWidth-filled), l.done, l.total, l.failed)
	}
	if left, ok := l.remaining(); ok {
		said += fmt.Sprintf(", about %v left", left)
	}
	return said
}

// flight is what the server is doing: a request decodes from its first token on, and before that it is in prefill, or queues.
func (l *liveRun) flight() string {
	if l.end != nil {
		return "the requests are over; the dataset is being made"
	}
	if len(l.open) == 0 {
		return "no request in flight"
	}
	prefill, decode := 0, 0
	began, first := l.now, l.now // the oldest of each
	for worker, ns := range l.open {
		if token, ok := l.answer[worker]; ok {
			decode, first = decode+1, min(first, token)
			continue
		}
		prefill, began = prefill+1, min(began, ns)
	}
	seconds := func(since int64) float64 { return float64(l.now-since) / 1e9 }
	var stages []string
	if prefill > 0 {
		stages = append(stages, fmt.Sprintf("%d in prefill or queue for %.1f s", prefill, seconds(began)))
	}
	if decode > 0 {
		stages = append(stages, fmt.Sprintf("%d in decode for %.1f s", decode, seconds(first)))
	}
	return "in flight: " + strings.Join(stages, ", ")
}

// answer is a request that is over.
func answer(s *schema.Span) string {
	said := fmt.Sprintf("last: %s %d", s.Prompt.Workload, s.Prompt.TargetTokens)
	if s.ErrorType != "" {
		return said + ": " + query.Printable(s.ErrorType)
	}
	if s.FirstTokenNS.OK {
		said += fmt.Sprintf(", first token after %v", time.Duration(s.FirstTokenNS.V-s.StartNS).Round(time.Millisecond/10))
	}
	if n := s.OutputTokens; n.OK && n.V > 1 && s.LastTokenNS.OK && s.LastTokenNS.V > s.FirstTokenNS.V {
		said += fmt.Sprintf(", %d tokens at %.1f tokens/s", n.V, float64(n.V-1)/(float64(s.LastTokenNS.V-s.FirstTokenNS.V)/1e9))
	}
	return said
}

// line is the run on one line, where there is no terminal.
func (l *liveRun) line() string {
	var boards []string
	for i := range l.boards {
		boards = append(boards, strings.TrimSpace(watts(l.boards[i].power)))
	}
	return fmt.Sprintf("%s: %s; %s; %s", query.Printable(l.from.Header.Run.ID), strings.Join(boards, " "), l.progress(), l.flight())
}

func watts(v schema.Opt[float32]) string {
	if !v.OK {
		return "    – W"
	}
	return fmt.Sprintf("%5.0f W", v.V)
}

func percent(v schema.Opt[int32]) string {
	if !v.OK {
		return "  – %"
	}
	return fmt.Sprintf("%3d %%", v.V)
}

func celsius(v schema.Opt[int32]) string {
	if !v.OK {
		return " – °C"
	}
	return fmt.Sprintf("%2d °C", v.V)
}
