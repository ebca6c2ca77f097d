package sim

// Update is one value of a power sensor as the sensor itself has it: with the very instant that it came into being at, and
// before it is rounded to milliwatts.
type Update struct {
	AtNS int64
	W    float64
}

// Updates are the updates of a power sensor from one instant to another. No reader learns as much; what is estimated from
// readings is held against what could be estimated from these.
func (b *Board) Updates(which Sensor, fromNS, toNS int64) (all []Update) {
	s := &b.facts.Sensors[which]
	_, first := b.truth.edge(which, fromNS)
	for n := first + 1; ; n++ {
		at := b.truth.updateAt(which, n)
		if at > toNS {
			return all
		}
		w := b.truth.wattsOver(which, at-s.WindowNS, at)*s.Gain + s.Noise*noise(b.facts.Seed, which, n)
		all = append(all, Update{AtNS: at, W: max(w, 0)})
	}
}
