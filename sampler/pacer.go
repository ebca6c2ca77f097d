package sampler

// pacer lays slots on the monotonic clock: slot n is due at start + n·period, plus its sway, whatever happened to the slots
// before it, so that lateness never adds up.
type pacer struct {
	startNS  int64
	periodNS int64
	sways    bool
	next     int64 // first slot that was neither taken nor missed
}

// swayStep is the share of a swing, to and fro, from slot to slot, in 1/2⁶⁴: gaps between slots differ from the period by
// 3.8 % at most. It is a twentieth of the golden section, so that slots never fall into step with a sensor.
const swayStep = 0x4E3_A050_533C_4680 // 0.0191 of a swing

// sway moves slots back and forth within one period. Without it, readings at a fifth of a sensor's period would meet the
// sensor at the same five phases for minutes, and where its edges lie between them could not be told.
func (p *pacer) sway(slot int64) int64 {
	if !p.sways {
		return 0
	}
	swing := uint64(slot) * swayStep
	if swing >= 1<<63 {
		swing = -swing
	}
	return int64(float64(p.periodNS) * (float64(swing) / (1 << 63)))
}

// taken is the outcome of one wake-up.
type taken struct {
	first, last int64 // slots that fell due; the last is taken, those before it are missed
	lateNS      int64 // behind the deadline that was slept for
}

func (t taken) missed() int64 { return t.last - t.first }

// due is the deadline to sleep for.
func (p *pacer) due() int64 { return p.dueAt(p.next) }

func (p *pacer) dueAt(slot int64) int64 { return p.startNS + slot*p.periodNS + p.sway(slot) }

// take claims the latest slot that is due. What fell due before it is missed, never caught up with: a burst of readings
// would see the same sensor value several times and load the driver when it is slow already.
func (p *pacer) take(nowNS int64) taken {
	t := taken{first: p.next, last: p.next, lateNS: max(nowNS-p.due(), 0)}
	t.last = max(t.first, (nowNS-p.startNS)/p.periodNS-1) // no slot sways by more than a period
	for p.dueAt(t.last+1) <= nowNS {
		t.last++
	}
	p.next = t.last + 1
	return t
}
