package report

import (
	"context"
	"database/sql"
	"fmt"
)

// What a page holds at most, so that its size is bounded whatever the dataset's: about 5 MB.
const (
	panels      = 24      // runs and boards that have a timeline, in the order of their start
	allPoints   = 300_000 // of all timelines together
	allRequests = 12_000
	closeUps    = 16
)

// longGap is how many planned periods a gap may last and still be a late reading.
const longGap = 10

// drawn is how many runs and boards have a timeline.
func (b *builder) drawn() int { return min(len(b.Runs), panels) }

// readTimelines gives each run and board its equal share of the points: every value that the sensor showed if they suffice,
// buckets if not.
func (b *builder) readTimelines(ctx context.Context) error {
	b.Undrawn = len(b.Runs) - b.drawn()
	share := int64(allPoints / b.drawn())
	for i := range b.drawn() {
		if err := b.from.Within(ctx, b.Runs[i].RunID, func() error { return b.readTimeline(ctx, i, share) }); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) readTimeline(ctx context.Context, i int, share int64) error {
	var there []struct {
		Readings int64 `json:"readings"`
		Updates  int64 `json:"updates"`
	}
	r := &b.Runs[i]
	if err := b.ask(ctx, &there, "readings", sql.Named("run", r.RunID), sql.Named("host", r.Host), sql.Named("board", r.UUID)); err != nil {
		return err
	}
	line := Timeline{Run: i, Values: there[0].Readings}
	read := b.readWhole
	if there[0].Updates > share {
		line.BucketS = r.Duration / float64(share/2) // a bucket has more columns than a value
		read = b.readBuckets
	}
	if err := read(ctx, &line); err != nil {
		return err
	}
	b.Timelines = append(b.Timelines, line)
	return nil
}

// board names one run's board to a query.
func (r *Run) board() []any {
	return []any{sql.Named("run", r.RunID), sql.Named("host", r.Host), sql.Named("board", r.UUID), sql.Named("zero", r.Zero)}
}

// seconds is a column of instants.
func seconds() Column { return Column{unit: 1e-3} }

// watts is a column of power.
func watts() Column { return Column{unit: 1e-2} }

// percent is a column of shares.
func percent() Column { return Column{unit: 1} }

// addSteps appends values, each once for as long as it repeats, and a NULL at the beginning of a gap.
func addSteps(t, values *Column, points []Point) {
	for i, p := range points {
		if p.Gap && i > 0 {
			t.add(new(points[i-1].S + t.unit))
			values.add(nil)
		}
		t.add(&p.S)
		values.add(p.Value)
	}
}

func (b *builder) readWhole(ctx context.Context, line *Timeline) error {
	r := &b.Runs[line.Run]
	var power, util []Point
	if err := b.ask(ctx, &power, "power", append(r.board(), sql.Named("gap", int64(1e9*longGap*r.Planned)))...); err != nil {
		return err
	}
	if err := b.ask(ctx, &util, "utilization", r.board()...); err != nil {
		return err
	}
	line.T, line.W, line.Util, line.UtilT, line.BandT = seconds(), watts(), percent(), new(seconds()), new(seconds())
	addSteps(&line.T, &line.W, power)
	addSteps(line.UtilT, &line.Util, util)
	var bands []struct {
		S     float64 `json:"s"`
		LastS float64 `json:"last_s"`
		Stage string  `json:"stage"`
	}
	if err := b.ask(ctx, &bands, "bands", r.board()...); err != nil {
		return err
	}
	most := 4 * allRequests / b.drawn()
	for _, band := range bands[:min(len(bands), most)] {
		line.BandT.add(&band.S)
		line.Band = append(line.Band, band.Stage)
	}
	switch n := len(bands); {
	case n > most:
		line.BandT.add(&bands[most].S)
	case n > 0:
		line.BandT.add(&bands[0].LastS)
	}
	return b.ask(ctx, &line.Requests, "ticks", sql.Named("run", r.RunID), sql.Named("host", r.Host), sql.Named("zero", r.Zero), sql.Named("limit", int64(allRequests/b.drawn())))
}

func (b *builder) readBuckets(ctx context.Context, line *Timeline) error {
	r := &b.Runs[line.Run]
	var rows []struct {
		Bucket  int64    `json:"bucket"`
		Lo      *float64 `json:"lo"`
		Hi      *float64 `json:"hi"`
		Mean    *float64 `json:"mean"`
		GPUPct  *float64 `json:"gpu_pct"`
		Prefill float64  `json:"prefill_pct"`
		Decode  float64  `json:"decode_pct"`
		Mixed   float64  `json:"mixed_pct"`
	}
	if err := b.ask(ctx, &rows, "buckets", append(r.board(), sql.Named("width", 1e9*line.BucketS))...); err != nil {
		return err
	}
	line.T, line.Lo, line.Hi, line.W, line.Util = seconds(), new(watts()), new(watts()), watts(), percent()
	line.Shares = []Column{percent(), percent(), percent()}
	for i, row := range rows {
		if i > 0 && row.Bucket > rows[i-1].Bucket+1 { // nothing was read
			line.addBucket(float64(rows[i-1].Bucket+1), nil, nil, nil, nil, [3]float64{})
		}
		line.addBucket(float64(row.Bucket), row.Lo, row.Hi, row.Mean, row.GPUPct, [3]float64{row.Prefill, row.Decode, row.Mixed})
	}
	return nil
}

func (t *Timeline) addBucket(bucket float64, lo, hi, mean, util *float64, shares [3]float64) {
	t.T.add(new(bucket * t.BucketS))
	t.Lo.add(lo)
	t.Hi.add(hi)
	t.W.add(mean)
	t.Util.add(util)
	for i := range t.Shares {
		t.Shares[i].add(&shares[i])
	}
}

// closeUpMargin is what a close-up shows before and after its request.
const closeUpMargin = 0.4 // s

// readCloseUps reads, of each kind of board and model, one request of each workload as its sensor showed it.
func (b *builder) readCloseUps(ctx context.Context) error {
	var all []CloseUp
	if err := b.ask(ctx, &all, "closeups"); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, c := range all {
		for i := range b.Runs {
			r := &b.Runs[i]
			if r.RunID != c.RunID || r.Host != c.Host || len(b.CloseUps) == closeUps {
				continue
			}
			key := fmt.Sprint(r.Serving, c.Workload)
			if seen[key] {
				continue
			}
			seen[key] = true
			c.Run = i
			if err := b.from.Within(ctx, r.RunID, func() error { return b.readCloseUp(ctx, r, c) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *builder) readCloseUp(ctx context.Context, r *Run, c CloseUp) error {
	from, to := c.Start-int64(1e9*closeUpMargin), c.Start+int64(1e9*(c.EndS+closeUpMargin))
	if err := b.ask(ctx, &c.Points, "closeup", sql.Named("run", r.RunID), sql.Named("host", r.Host), sql.Named("board", r.UUID),
		sql.Named("zero", c.Start), sql.Named("from", from), sql.Named("to", to)); err != nil {
		return err
	}
	b.CloseUps = append(b.CloseUps, c)
	return nil
}
