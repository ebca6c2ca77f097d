package report

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"

	"github.com/klauspost/compress/gzip"
)

// absent stands for NULL among a column's values.
const absent = math.MinInt32

// Column is numbers as the page holds them: whole multiples of a unit, each as its difference from the one before, in 4
// bytes, compressed. A million instants of a regular rhythm take some kilobytes.
type Column struct {
	unit   float64
	values []int32
}

// add appends a value, NULL where it is nil, not a number or out of range.
func (c *Column) add(v *float64) {
	if v == nil || !(math.Abs(*v/c.unit) < math.MaxInt32) {
		c.values = append(c.values, absent)
		return
	}
	c.values = append(c.values, int32(math.Round(*v/c.unit)))
}

// MarshalJSON writes the unit, the number of values and the values.
func (c Column) MarshalJSON() ([]byte, error) {
	raw := make([]byte, 0, 4*len(c.values))
	before := int32(0)
	for _, v := range c.values {
		raw = binary.LittleEndian.AppendUint32(raw, uint32(v-before)) //nolint:gosec // both wrap around, here and in the page
		before = v
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(raw); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"unit": c.unit, "n": len(c.values), "gzip": base64.StdEncoding.EncodeToString(packed.Bytes())})
}

// Floats are the values in their unit, NaN where NULL.
func (c Column) Floats() []float64 {
	values := make([]float64, len(c.values))
	for i, v := range c.values {
		values[i] = float64(v) * c.unit
		if v == absent {
			values[i] = math.NaN()
		}
	}
	return values
}
