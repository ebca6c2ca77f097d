package main

import (
	"fmt"
	"html"
	"strings"
)

// goal is the sampler's CPU time by the calls' own that the project aims at.
const goal = 1.5

// outcome is what a scenario took: shares of one core, medians.
type outcome struct {
	name                      string
	calls, floor, cpu, thread float64
	lateUS, missed            float64
}

func (o outcome) row() []string {
	return []string{
		o.name, ms(o.calls), ms(o.floor), ms(o.cpu), ms(o.thread),
		fmt.Sprintf("%.2f", o.cpu/o.calls), fmt.Sprintf("%.2f", o.cpu/o.floor), fmt.Sprintf("%.0f", o.lateUS), fmt.Sprintf("%.2f %%", 100*o.missed),
	}
}

func ms(share float64) string { return fmt.Sprintf("%.2f", 1e3*share) }

// over says of each scenario past the goal what the rest is spent on, and what would change it.
func over(all []outcome) (why []string) {
	for _, o := range all {
		if o.cpu <= goal*o.calls {
			continue
		}
		said := fmt.Sprintf("*%s*: %.2f. ", o.name, o.cpu/o.calls)
		if o.floor > goal*o.calls {
			said += fmt.Sprintf("The bare loop alone takes %.2f times its calls: waking up costs more than they do. Costlier calls, as a real driver's may be, would change it, and fewer wakings", o.floor/o.calls)
		} else {
			said += fmt.Sprintf("Waking up takes %.2f of that by the bare loop's measure, what Go's runtime does beside the thread that reads %.2f, the thread's own work %.2f. Boards that share a waking, or costlier calls, would change it",
				(o.floor-o.calls)/o.calls, (o.cpu-o.thread)/o.calls, (o.thread-o.floor)/o.calls)
		}
		why = append(why, said)
	}
	return why
}

// A bar chart: for each scenario what calls, bare loop and sampler take, by the calls.
const (
	chartWidth, names, bar = 720, 170, 12
	mostRatio              = 6.0 // what is longer is cut off, and says so
)

func plot(all []outcome) string {
	var b strings.Builder
	rows := len(all)
	high := rows*(2*bar+14) + 44
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n", chartWidth, high)
	scale := float64(chartWidth-names-60) / mostRatio
	for _, line := range []struct {
		at   float64
		name string
	}{{1, "calls alone"}, {goal, "goal"}} {
		x := float64(names) + line.at*scale
		fmt.Fprintf(&b, `<line x1="%.1f" y1="18" x2="%.1f" y2="%d" stroke="#999" stroke-dasharray="3 2"/><text x="%.1f" y="12" text-anchor="middle" fill="#666">%s</text>`+"\n", x, x, high-24, x, line.name)
	}
	for i, o := range all {
		y := 24 + i*(2*bar+14)
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", names-8, y+bar+4, html.EscapeString(o.name))
		for k, of := range []struct {
			ratio  float64
			colour string
		}{{o.floor / o.calls, "#7f8c8d"}, {o.cpu / o.calls, "#c0392b"}} {
			shown, more := min(of.ratio, mostRatio), ""
			if of.ratio > mostRatio {
				more = " →"
			}
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/><text x="%.1f" y="%d">%.3g%s</text>`+"\n",
				names, y+k*(bar+1), shown*scale, bar, of.colour, float64(names)+shown*scale+4, y+k*(bar+1)+bar-2, of.ratio, more)
		}
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d">CPU time ÷ the calls' own: <tspan fill="#7f8c8d">bare loop in C</tspan>, <tspan fill="#c0392b">tracer's sampler</tspan>; boards, period, cost of a call</text>`+"\n</svg>\n", names, high-8)
	return b.String()
}
