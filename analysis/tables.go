package analysis

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/llm-tracer/tracer/analysis/query"
	"github.com/llm-tracer/tracer/schema"
)

// manyBoards is from how many boards and runs on their energies are told kind by kind.
const manyBoards = 8

// Print writes the summary as tables.
func (s *Summary) Print(w io.Writer) error {
	if err := table(w, s.Stages, s.stageColumns()); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := table(w, s.Sizes, s.sizeColumns()); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nupdates: new values of the power sensor; W of a stage with few of them says more about what came before it, J does not")
	fmt.Fprintln(w, "TTFT, TPOT, tokens: medians over the requests with nothing against them but overlap; n: those with a second token, which TPOT and decode J are over")
	s.printEnergies(w)
	fmt.Fprintf(w, "requests: %d valid, %d not valid; %d to warm up\n", s.Counts.Valid, s.Counts.Invalid, s.Counts.Warmup)
	for _, reason := range slices.Sorted(maps.Keys(s.Counts.Reasons)) {
		if _, err := fmt.Fprintf(w, "not valid: %d × %s\n", s.Counts.Reasons[reason], query.Printable(reason)); err != nil {
			return err
		}
	}
	return nil
}

// column is one column of a printed table.
type column[L any] struct {
	head string
	cell func(L) string
}

func table[L any](w io.Writer, lines []L, columns []column[L]) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, c := range columns {
		fmt.Fprintf(t, "%s\t", c.head)
	}
	fmt.Fprintln(t)
	for _, l := range lines {
		for _, c := range columns {
			fmt.Fprintf(t, "%s\t", c.cell(l))
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

// keyed are the columns of the keys that a table's lines are told apart by.
func keyed[L any](s *Summary, of func(L) group) (columns []column[L]) {
	for _, k := range []column[group]{
		{string(KeyGPU), s.label}, {string(KeyLLM), func(g group) string { return query.Printable(g.LLM) }}, {string(KeyRun), func(g group) string { return query.Printable(g.RunID) }},
	} {
		if slices.Contains(s.By, Key(k.head)) {
			columns = append(columns, column[L]{k.head, func(l L) string { return k.cell(of(l)) }})
		}
	}
	return columns
}

// counted is the column that says how many runs a line stands for, where it may be more than one.
func counted[L any](s *Summary, of func(L) int) []column[L] {
	if s.RunID != "" || slices.Contains(s.By, KeyRun) {
		return nil
	}
	return []column[L]{{"runs", func(l L) string { return strconv.Itoa(of(l)) }}}
}

func (s *Summary) stageColumns() []column[StageLine] {
	return slices.Concat(
		keyed(s, func(l StageLine) group { return l.group }),
		[]column[StageLine]{{"stage", func(l StageLine) string { return string(l.Stage) }}},
		counted(s, func(l StageLine) int { return l.Runs }),
		[]column[StageLine]{
			{"rows", func(l StageLine) string { return strconv.Itoa(l.Rows) }},
			{"seconds", func(l StageLine) string { return fmt.Sprintf("%.1f", l.Seconds) }},
			{"updates", func(l StageLine) string { return strconv.Itoa(l.Updates) }},
			{"mean W", func(l StageLine) string { return number(l.MeanW, 1) }},
			{"p95 W", func(l StageLine) string { return number(l.P95W, 1) }},
			{"GPU util %", func(l StageLine) string { return number(l.GPUUtil, 0) }},
			{"°C", func(l StageLine) string { return number(l.Temp, 0) }},
		})
}

func (s *Summary) sizeColumns() []column[SizeLine] {
	var columns []column[SizeLine]
	if s.RunID == "" { // a run has one model, and its requests are on all of its boards
		columns = keyed(s, func(l SizeLine) group { return l.group })
	}
	if slices.Contains(s.By, KeyWorkload) {
		columns = append(columns, column[SizeLine]{"workload", func(l SizeLine) string { return string(l.Workload) }})
	}
	if slices.Contains(s.By, KeySize) {
		columns = append(columns, column[SizeLine]{"size", func(l SizeLine) string { return strconv.Itoa(int(l.Size)) }})
	}
	return slices.Concat(columns,
		counted(s, func(l SizeLine) int { return l.Runs }),
		[]column[SizeLine]{
			{"requests", func(l SizeLine) string { return strconv.Itoa(l.Requests) }},
			{"valid", func(l SizeLine) string { return strconv.Itoa(l.Valid) }},
			{"TTFT ms", func(l SizeLine) string { return number(scaled(l.TTFT, 1e3), 1) }},
			{"TPOT ms", func(l SizeLine) string { return number(scaled(l.TPOT, 1e3), 2) }},
			{"n", func(l SizeLine) string { return strconv.Itoa(l.TPOTRequests) }},
			{"tokens in", func(l SizeLine) string { return number(l.InputTokens, 0) }},
			{"tokens out", func(l SizeLine) string { return number(l.OutputTokens, 0) }},
			{"prefill J ", func(l SizeLine) string { return l.Prefill.String() }},
			{"decode J ", func(l SizeLine) string { return l.Decode.String() }},
			{"n", func(l SizeLine) string { return l.Decode.of() }},
		})
}

// label names a line's board; of several with the same name, by the first digits of the UUID too.
func (s *Summary) label(g group) string {
	for _, other := range s.Boards {
		if other.GPU == g.GPU && other.UUID != g.UUID && g.UUID != "" {
			uuid := strings.TrimPrefix(g.UUID, "GPU-")
			return g.GPU + " " + uuid[:min(8, len(uuid))]
		}
	}
	return query.Served(g.GPU, g.Boards)
}

// printEnergies says what the energies stand on.
func (s *Summary) printEnergies(w io.Writer) {
	if slices.ContainsFunc(s.Sizes, func(l SizeLine) bool { return l.Prefill != nil || l.Decode != nil }) {
		fmt.Fprintln(w, "J: mean energy of one request's stage, all boards, ± 95 %; * the sensor never saw that stage alone: known from its repetitions together")
		fmt.Fprintln(w, "±: what the sensors leave open for exactly these requests, not the scatter between requests, which tracer compare has")
	}
	if len(s.Boards) > manyBoards {
		s.printAccounts(w)
		return
	}
	for _, b := range s.Boards {
		name := s.label(group{GPU: b.GPU, UUID: b.UUID})
		if s.RunID == "" {
			name += " in " + query.Printable(b.RunID)
		}
		if b.PrefillJ == nil {
			switch {
			case slices.Contains(b.Reasons, schema.ReasonStuck):
				fmt.Fprintf(w, "no energy of %s: its power sensor stood still while its work changed; NOT VALID: %s\n", name, strings.Join(b.Reasons, ", "))
			case slices.Contains(b.Reasons, schema.ReasonNoEnergy):
				fmt.Fprintf(w, "no energy of %s: its power sensor is a running mean, or was read too rarely (gaps over two thirds of its period) or too briefly\n", name)
			}
			continue
		}
		line := fmt.Sprintf("energy of %s: prefill %s J, decode %s J, mixed %s J, idle %s J", name, number(b.PrefillJ, 0), number(b.DecodeJ, 0), number(b.MixedJ, 0), number(b.IdleJ, 0))
		if b.Closure != nil {
			line += fmt.Sprintf("; %+.2f %% from the board's own counter over %.0f s", *b.Closure, *b.WindowS)
		}
		if len(b.Reasons) > 0 {
			line += "; NOT VALID: " + strings.Join(b.Reasons, ", ")
		}
		fmt.Fprintln(w, line)
	}
}

// account adds up the energy of one kind of board.
type account struct {
	runs, without, closed, invalid int
	stages                         [4]float64 // prefill, decode, mixed, idle, J
	closure, worst                 float64    // sum over the runs that have one, and the furthest from 0, %
}

// printAccounts adds the boards of one name up.
func (s *Summary) printAccounts(w io.Writer) {
	accounts := map[string]*account{}
	for _, b := range s.Boards {
		a := accounts[b.GPU]
		if a == nil {
			a = &account{}
			accounts[b.GPU] = a
		}
		a.add(b)
	}
	for _, gpu := range slices.Sorted(maps.Keys(accounts)) {
		a := accounts[gpu]
		line := fmt.Sprintf("energy of %s in %d runs: prefill %.0f J, decode %.0f J, mixed %.0f J, idle %.0f J", query.Printable(gpu), a.runs, a.stages[0], a.stages[1], a.stages[2], a.stages[3])
		if a.closed > 0 {
			line += fmt.Sprintf("; %+.2f %% from the boards' own counters at the mean, %+.2f %% at the furthest", a.closure/float64(a.closed), a.worst)
		}
		if a.without > 0 {
			line += fmt.Sprintf("; NONE in %d more", a.without)
		}
		if a.invalid > 0 {
			line += fmt.Sprintf("; NOT VALID in %d", a.invalid)
		}
		fmt.Fprintln(w, line)
	}
}

func (a *account) add(b BoardEnergy) {
	if len(b.Reasons) > 0 {
		a.invalid++
	}
	if b.PrefillJ == nil {
		a.without++
		return
	}
	a.runs++
	for i, j := range []*float64{b.PrefillJ, b.DecodeJ, b.MixedJ, b.IdleJ} {
		if j != nil {
			a.stages[i] += *j
		}
	}
	if b.Closure != nil {
		a.closed++
		a.closure += *b.Closure
		if max(*b.Closure, -*b.Closure) > max(a.worst, -a.worst) {
			a.worst = *b.Closure
		}
	}
}

func scaled(v *float64, by float64) *float64 {
	if v == nil {
		return nil
	}
	x := *v * by
	return &x
}

// number is a value, or a dash where there is none.
func number(v *float64, digits int) string {
	if v == nil {
		return "–"
	}
	return fmt.Sprintf("%.*f", digits, *v)
}
