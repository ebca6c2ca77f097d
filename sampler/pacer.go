package sampler

// pacer lays slots on the monotonic clock: slot n is due at start + n·period, whatever happened to the slots before it,
// so that lateness never adds up.
type pacer struct {
	startNS  int64
	periodNS int64
	next     int64 // first slot that was neither taken nor missed
}

// taken is the outcome of one wake-up.
type taken struct {
	first, last int64 // slots that fell due; the last is taken, those before it are missed
	lateNS      int64 // behind the deadline that was slept for
}

func (t taken) missed() int64 { return t.last - t.first }

// due is the deadline to sleep for.
func (p *pacer) due() int64 { return p.startNS + p.next*p.periodNS }

// take claims the latest slot that is due. What fell due before it is missed, never caught up with: a burst of readings
// would see the same sensor value several times and load the driver when it is slow already.
func (p *pacer) take(nowNS int64) taken {
	t := taken{first: p.next, last: p.next}
	if late := nowNS - p.due(); late > 0 {
		t.lateNS = late
		t.last += late / p.periodNS
	}
	p.next = t.last + 1
	return t
}
