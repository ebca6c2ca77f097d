package energy

import (
	"math"
	"slices"
)

// banded is a symmetric positive definite matrix whose entries lie near the diagonal, and, once factored, its Cholesky
// factor L. Row i holds the entries at columns i−width … i.
type banded struct {
	n, width int
	rows     []float64
}

func newBanded(n, width int) *banded {
	return &banded{n: n, width: width, rows: make([]float64, n*(width+1))}
}

// at is the entry at row i and column j, i−width ≤ j ≤ i.
func (m *banded) at(i, j int) *float64 { return &m.rows[i*(m.width+1)+m.width-(i-j)] }

// factor replaces the matrix by L, where L·Lᵀ is the matrix.
func (m *banded) factor() {
	for i := range m.n {
		lo := max(0, i-m.width)
		for j := lo; j <= i; j++ {
			sum := *m.at(i, j)
			for k := max(lo, j-m.width); k < j; k++ {
				sum -= *m.at(i, k) * *m.at(j, k)
			}
			if j < i {
				*m.at(i, j) = sum / *m.at(j, j)
			} else {
				*m.at(i, i) = math.Sqrt(sum)
			}
		}
	}
}

// solve replaces b by the solution of L·Lᵀ·x = b.
func (m *banded) solve(b []float64) {
	for i := range m.n {
		for j := max(0, i-m.width); j < i; j++ {
			b[i] -= *m.at(i, j) * b[j]
		}
		b[i] /= *m.at(i, i)
	}
	for i := m.n - 1; i >= 0; i-- {
		b[i] /= *m.at(i, i)
		for j := max(0, i-m.width); j < i; j++ {
			b[j] -= *m.at(i, j) * b[i]
		}
	}
}

// solved is the factored matrix and the solution for b; both are left as they are.
func (m *banded) solved(b []float64) (factor *banded, x []float64) {
	factor, x = &banded{n: m.n, width: m.width, rows: slices.Clone(m.rows)}, slices.Clone(b)
	factor.factor()
	factor.solve(x)
	return factor, x
}

// negligible is the share of a vector's largest entry under which what follows is left out.
const negligible = 1e-9

// whiten gives y with L·y = v, for a v that begins at row from: the inner product of two such y is the covariance of what
// the two v sum up. y begins at the same row, and ends where it has died away.
func (m *banded) whiten(from int, v []float64) []float64 {
	var y []float64
	largest, quiet := 0.0, 0
	for i := from; i < m.n; i++ {
		var sum float64
		if i-from < len(v) {
			sum = v[i-from]
		}
		for j := max(from, i-m.width); j < i; j++ {
			sum -= *m.at(i, j) * y[j-from]
		}
		sum /= *m.at(i, i)
		y = append(y, sum)
		largest = max(largest, math.Abs(sum))
		if quiet++; math.Abs(sum) > negligible*largest || i-from < len(v) {
			quiet = 0
		}
		if quiet > m.width {
			break
		}
	}
	return y
}
