package report

import "fmt"

// Objection is what speaks against using something of a run.
type Objection struct{ RunID, Label, What string }

// Against lists faults, gaps, and requests that are not valid, by reason.
func (m *Model) Against() []Objection {
	var all []Objection
	for i, r := range m.Listed() {
		object := func(that bool, format string, args ...any) {
			if that {
				all = append(all, Objection{r.RunID, r.Label, fmt.Sprintf(format, args...)})
			}
		}
		object(r.Status != "complete", "the run is %s", r.Status)
		object(deref(r.InvalidReasons) != "", "its energies: %s", deref(r.InvalidReasons))
		object(deref(r.Lost), "the board stopped answering during the run")
		object(deref(r.Gaps) != "", "no rows: %s", deref(r.Gaps))
		object(deref(r.WithoutPower) > 0, "%d readings without power", deref(r.WithoutPower))
		object(deref(r.Missed) > 0, "%d slots of the plan without a reading", deref(r.Missed))
		object(deref(r.Dropped) > 0, "%d readings were lost to a full ring", deref(r.Dropped))
		object(r.ClockStep > 0.001 || r.ClockStep < -0.001, "the wall clock moved by %+.3f s against the monotonic clock", r.ClockStep)
		object(r.PeriodChanges != nil && *r.PeriodChanges > 0, "the governor changed the rhythm of readings %d times", deref(r.PeriodChanges))
		if i > 0 && m.Runs[i-1].RunID == r.RunID && m.Runs[i-1].Host == r.Host {
			continue // requests are the run's, not the board's
		}
		for _, reason := range r.RequestsAgainst {
			object(true, "%d requests not valid: %s", reason.Requests, reason.Reason)
		}
	}
	return all
}

func deref[T any](v *T) (zero T) {
	if v == nil {
		return zero
	}
	return *v
}

// Resolutions say of each timeline's points what they stand for.
func (m *Model) Resolutions() []string {
	var said []string
	var whole, values int64
	for _, t := range m.Timelines {
		if t.BucketS == 0 {
			whole++
			values += t.Values
			continue
		}
		said = append(said, fmt.Sprintf("%s of run %s: %d readings in buckets of %.3g s, each with its least, greatest and mean power.",
			m.Runs[t.Run].Label, m.Runs[t.Run].RunID, t.Values, t.BucketS))
	}
	if whole > 0 {
		said = append([]string{fmt.Sprintf("Of %d readings in %d panels every value that the power sensor showed is in this file, once.", values, whole)}, said...)
	}
	return said
}
