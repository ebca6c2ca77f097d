package schema

import (
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"
)

// pair is a row whose columns say the same in two ways.
type pair struct {
	V     Opt[int32]
	Label Opt[int32]
}

var pairs = Table[pair]{
	Name:  "pairs",
	alike: func(a, b *pair) bool { return a.Label == b.Label },
	Columns: []Column[pair]{
		{Name: "field", Type: typeInt32, Nullable: true, bind: field(func(p *pair) *Opt[int32] { return &p.V })},
		{Name: "optional", Type: typeInt32, Nullable: true, bind: optional(func(p *pair) Opt[int32] { return p.V })},
		{Name: "steady", Type: typeInt32, Nullable: true, bind: steady(func(p *pair) Opt[int32] { return p.Label })},
		{Name: "optional_label", Type: typeInt32, Nullable: true, bind: optional(func(p *pair) Opt[int32] { return p.Label })},
	},
}

func TestColumnsReadFromTheirRowsAreThoseOfArrowsBuilders(t *testing.T) {
	value := rapid.Custom(func(t *rapid.T) Opt[int32] {
		if !rapid.Bool().Draw(t, "ok") {
			return Opt[int32]{}
		}
		return Some(rapid.Int32().Draw(t, "v"))
	})
	rapid.Check(t, func(t *rapid.T) {
		b := pairs.NewBuilder(memory.DefaultAllocator)
		defer b.Release()
		for range rapid.IntRange(1, 3).Draw(t, "batches") {
			for range rapid.IntRange(1, 4).Draw(t, "appends") {
				label := value.Draw(t, "label")
				rows := make([]pair, rapid.IntRange(0, 2*together).Draw(t, "rows"))
				for i := range rows {
					if i%37 == 36 {
						label = value.Draw(t, "label")
					}
					rows[i] = pair{V: Opt[int32]{V: int32(i), OK: i%rapid.SampledFrom([]int{1, 2, 9}).Draw(t, "every") == 0}, Label: label}
					if !rows[i].V.OK {
						rows[i].V.V = 0
					}
				}
				b.Append(rows)
			}
			record := b.NewRecord()
			for _, same := range [][2]int{{0, 1}, {2, 3}} {
				if have, want := record.Column(same[0]), record.Column(same[1]); have.NullN() != want.NullN() || !array.Equal(have, want) {
					t.Fatalf("column %s is\n%v, not\n%v", record.ColumnName(same[0]), have, want)
				}
			}
			record.Release()
		}
	})
}
