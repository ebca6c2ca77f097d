package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"math"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/llm-tracer/tracer/internal/catalog"
	"github.com/llm-tracer/tracer/sampler/sim"
)

//go:embed accuracy.md.tmpl
var text string

var names = [methods]string{
	tracer:      "**tracer**, a reading every 20 ms, levels fitted",
	hold:        "field 186 every 10 ms, held (`nvidia-smi --loop-ms=10`'s way)",
	placed:      "field 186 every 10 ms, each new value put around its window",
	usage:       "`nvmlDeviceGetPowerUsage` every 10 ms, averaged",
	counter:     "Zeus, `ZeusMonitor`: the energy counter at both ends",
	approximate: "Zeus, `ZeusMonitor(approx_instant_energy=True)`",
	monitor:     "Zeus, `PowerMonitor` every 10 ms, its `get_energy`",
}

// virtually read in the same way without the program.
const counterName = "the energy counter at both ends, as `ZeusMonitor`"

// page is the whole of docs/accuracy.md.
func (o *outcome) page() ([]byte, error) {
	t, err := template.New("accuracy").Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parsing the page: %w", err)
	}
	var b bytes.Buffer
	boards, err := o.boards()
	if err != nil {
		return nil, err
	}
	err = t.Execute(&b, map[string]any{
		"Machine": o.machine, "Load": o.load, "Versions": o.versions, "Tracer": o.config.version, "Boards": boards,
		"Race": o.raceTable(), "Zero": o.zeroes(), "Steady": o.studyTable(func(s *study) *[methods]scores { return &s.steady }), "Rough": o.studyTable(func(s *study) *[methods]scores { return &s.rough }), "Better": o.better(), "Narrow": o.narrow(),
		"Late50": o.lateness(0.5), "Late99": o.lateness(0.99), "Missed": o.stats.Missed, "FitS": o.slowestFit(), "Ticks": o.stats.Ticks,
		"RealSeed": realSeed, "RealRequests": realRequests, "FirstSeed": firstSeed, "Seeds": virtualSeeds, "Requests": virtualRequests,
		"FoldSeeds": foldSeeds, "FoldRequests": foldRequests, "GrainW": roughGrainW, "EarlyMS": roughEarly.Milliseconds(), "LateMS": roughLate.Seconds() * 1e3, "JitterMS": roughJitter.Milliseconds(), "WindowPct": fmt.Sprintf("%.0f", 100*(1-roughWindow)), "ScatterW": fmt.Sprintf("%.1f", roughScatterW/math.Sqrt(6)),
	})
	return b.Bytes(), err
}

// table lays rows out as Markdown.
func table(head []string, rows [][]string) string {
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(head)
	fmt.Fprintf(&b, "|---|---|%s\n", strings.Repeat("---:|", len(head)-2))
	for _, r := range rows {
		line(r)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// boards lists the boards with the rhythms of their sensors.
func (o *outcome) boards() (string, error) {
	var rows [][]string
	for _, kind := range o.config.kinds {
		c, err := catalog.BoardByName(kind)
		if err != nil {
			return "", err
		}
		s := sim.Describe(c, 0)
		usage := "field 186"
		if a, ok := s.Sensors[sim.PowerAverage]; ok {
			usage = fmt.Sprintf("field 185, %d / %d", a.Period.Milliseconds(), a.Window.Milliseconds())
		}
		i, e := s.Sensors[sim.PowerInstant], s.Sensors[sim.EnergyCounter]
		rows = append(rows, []string{kind, s.Architecture, fmt.Sprintf("%d / %d", i.Period.Milliseconds(), i.Window.Milliseconds()), usage, fmt.Sprint(e.Period.Milliseconds())})
	}
	return table([]string{"board", "architecture", "field 186, ms", "`nvmlDeviceGetPowerUsage`, ms", "counter's step, ms"}, rows), nil
}

func (o *outcome) raceTable() string {
	var rows [][]string
	for i := range o.races {
		r := &o.races[i]
		for m := range methods {
			s := &r.scores[m]
			rows = append(rows, []string{
				r.kind, names[m], percent(s.prefill.quantile(0.5)), percent(s.prefill.quantile(0.9)), percent(s.request.quantile(0.5)), percent(s.request.quantile(0.9)),
				covered(s.prefill) + " / " + covered(s.request), fmt.Sprintf("%.0f", r.readings[m]), fmt.Sprintf("%.2f", r.cpu[m]),
			})
		}
	}
	return table([]string{
		"board", "method", "prefill, median", "prefill, 90 %", "request, median", "request, 90 %", "95 % intervals that hold the truth: prefill / request", "readings/s", "CPU s/min",
	}, rows)
}

// zeroes counts the prefills that ZeusMonitor measured as nothing.
func (o *outcome) zeroes() string {
	var zero, all int
	for i := range o.races {
		s := &o.races[i].scores[counter].prefill
		zero, all = zero+s.zero, all+len(s.errors)
	}
	return fmt.Sprintf("%d of %d", zero, all)
}

// virtualMethods need no program of others.
var virtualMethods = []method{tracer, hold, placed, usage, counter}

func virtualName(m method) string {
	if m == counter {
		return counterName
	}
	return names[m]
}

// studyTable is the many seeds of one world.
func (o *outcome) studyTable(world func(*study) *[methods]scores) string {
	var rows [][]string
	for i := range o.studies {
		for _, m := range virtualMethods {
			s := &world(&o.studies[i])[m]
			fold := s.fold30
			fold.merge(s.fold60)
			rows = append(rows, []string{
				o.studies[i].kind, virtualName(m), percent(s.prefill.quantile(0.5)), percent(s.prefill.quantile(0.9)), percent(s.request.quantile(0.5)),
				percent(s.fold30.quantile(0.5)), percent(s.fold60.quantile(0.5)), covered(s.prefill) + " / " + covered(s.request) + " / " + covered(fold),
			})
		}
	}
	return table([]string{"board", "method", "prefill, median", "prefill, 90 %", "request, median", "folded 30 ms, median", "folded 60 ms, median", "95 % intervals that hold the truth: prefill / request / folded"}, rows)
}

// better lists where another method's error was smaller than tracer's.
func (o *outcome) better() string {
	var found []string
	look := func(where string, all *[methods]scores) {
		for what, of := range map[string]func(*scores) *score{
			"prefills":       func(s *scores) *score { return &s.prefill },
			"requests":       func(s *scores) *score { return &s.request },
			"folds of 30 ms": func(s *scores) *score { return &s.fold30 },
			"folds of 60 ms": func(s *scores) *score { return &s.fold60 },
		} {
			for m := tracer + 1; m < methods; m++ {
				for name, q := range map[string]float64{"median": 0.5, "90 %": 0.9} {
					if theirs, ours := of(&all[m]).quantile(q), of(&all[tracer]).quantile(q); theirs < ours {
						found = append(found, fmt.Sprintf("- %s, %s, %s: %s, %s against %s", where, what, name, names[m], percent(theirs), percent(ours)))
					}
				}
			}
		}
	}
	for i := range o.races {
		look(o.races[i].kind+" in real time", &o.races[i].scores)
	}
	for i := range o.studies {
		look(o.studies[i].kind+" in virtual time", &o.studies[i].steady)
		look(o.studies[i].kind+" in virtual time, rough", &o.studies[i].rough)
	}
	return list(found)
}

func (o *outcome) slowestFit() string {
	var slowest time.Duration
	for i := range o.races {
		slowest = max(slowest, o.races[i].fit)
	}
	return fmt.Sprintf("%.2f s", slowest.Seconds())
}

// lateness is a quantile of how late windows began and ended, of the board where it is largest.
func (o *outcome) lateness(q float64) string {
	var worst int64
	for i := range o.races {
		v := o.races[i].lateNS
		worst = max(worst, v[int(q*float64(len(v)-1))])
	}
	return fmt.Sprintf("%d µs", worst/1000)
}

// percent shows no more digits than mean something.
func percent(share float64) string {
	switch p := 100 * share; {
	case math.IsNaN(p):
		return "–"
	case p < 0.995:
		return fmt.Sprintf("%.2f %%", p)
	case p < 9.95:
		return fmt.Sprintf("%.1f %%", p)
	default:
		return fmt.Sprintf("%.0f %%", p)
	}
}

// covered is the share of stated intervals that hold the truth.
func covered(s score) string {
	if s.stated == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f %%", 100*float64(s.holds)/float64(s.stated))
}

// narrow tells where tracer's 95 % intervals held the truth in fewer than 90 % of the many seeds' cases.
func (o *outcome) narrow() string {
	var found []string
	look := func(where string, s *scores) {
		fold := s.fold30
		fold.merge(s.fold60)
		for what, of := range map[string]score{"prefills": s.prefill, "requests": s.request, "folds": fold} {
			if 10*of.holds < 9*of.stated {
				found = append(found, fmt.Sprintf("- %s: %s, %s", where, what, covered(of)))
			}
		}
	}
	for i := range o.studies {
		s := &o.studies[i]
		look(s.kind, &s.steady[tracer])
		look(s.kind+", rough", &s.rough[tracer])
	}
	if len(found) == 0 {
		return "tracer's 95 % intervals hold the truth in 90 % of cases or more in both worlds."
	}
	slices.Sort(found)
	return "**tracer's 95 % intervals are too narrow here**, that is, they hold the truth in fewer than 90 % of cases:\n\n" + strings.Join(found, "\n")
}

// list is lines in order, or a sentence where there is none.
func list(lines []string) string {
	if len(lines) == 0 {
		return "In this run no other method had a smaller error in any column, at the median or at 90 %."
	}
	slices.Sort(lines)
	return "In this run another method had the smaller error here:\n\n" + strings.Join(lines, "\n")
}
