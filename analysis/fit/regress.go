package fit

import (
	"errors"
	"math"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat/distuv"
)

// point is one observation of a linear model: what is multiplied with the coefficients, what came of it, and how much it
// counts. Points of one group were taken under the same conditions; what differs within a group is noise, and a model that
// misses the groups' means does not hold.
type point struct {
	row    []float64
	y, w   float64
	group  int
	within int // block of time, for observations that follow one another
}

// solution is a weighted least-squares fit.
type solution struct {
	coef   []float64
	cov    *mat.SymDense // of the coefficients
	degree float64       // of freedom that the covariance has
	rss    float64       // weighted
	n      int
	lack   bool // the model misses the groups' means by more than the noise within them
}

// errRank says that the points do not tell the coefficients apart.
var errRank = errors.New("the points do not tell the coefficients apart")

// lackLevel is where the test for lack of fit decides.
const lackLevel = 0.05

// regress fits the coefficients. Their covariance is that of residuals of unequal variance (HC3); where the model does not
// meet the groups' means (F-test for lack of fit), the scatter of the means about it takes its place, with as many degrees
// of freedom as there are groups to spare.
func regress(points []point) (*solution, error) {
	n, p := len(points), len(points[0].row)
	groups := map[int]*average{}
	for _, pt := range points {
		if groups[pt.group] == nil {
			groups[pt.group] = &average{}
		}
		groups[pt.group].add(pt.y, pt.w)
	}
	if len(groups) < p || n <= p {
		return nil, errRank
	}
	x, y := mat.NewDense(n, p, nil), mat.NewVecDense(n, nil)
	scale := make([]float64, p)
	for _, pt := range points {
		for j, v := range pt.row {
			scale[j] = max(scale[j], math.Abs(v)*math.Sqrt(pt.w))
		}
	}
	for i, pt := range points {
		for j, v := range pt.row {
			x.Set(i, j, v*math.Sqrt(pt.w)/scale[j])
		}
		y.SetVec(i, pt.y*math.Sqrt(pt.w))
	}
	var inverse mat.SymDense
	var chol mat.Cholesky
	var normal mat.SymDense
	normal.SymOuterK(1, x.T())
	if !chol.Factorize(&normal) || chol.Cond() > 1e12 {
		return nil, errRank
	}
	if err := chol.InverseTo(&inverse); err != nil {
		return nil, errRank
	}
	var beta, xty mat.VecDense
	xty.MulVec(x.T(), y)
	if err := chol.SolveVecTo(&beta, &xty); err != nil {
		return nil, errRank
	}
	s := &solution{coef: make([]float64, p), n: n, degree: float64(n - p)}
	residuals := make([]float64, n)
	for i := range residuals {
		residuals[i] = y.AtVec(i) - mat.Dot(x.RowView(i), &beta)
		s.rss += residuals[i] * residuals[i]
	}
	spread := s.judge(points, groups, p)
	if s.lack {
		s.cov = scaled(&inverse, spread)
	} else {
		var blocks int
		s.cov, blocks = sandwich(x, &inverse, residuals, points)
		s.degree = float64(max(blocks-p, 1))
	}
	for j := range p { // back to the caller's units
		s.coef[j] = beta.AtVec(j) / scale[j]
		for k := range j + 1 {
			s.cov.SetSym(j, k, s.cov.At(j, k)/scale[j]/scale[k])
		}
	}
	return s, nil
}

// judge tests for lack of fit, and gives the variance of the groups' means about the model, of unit weight.
func (s *solution) judge(points []point, groups map[int]*average, p int) float64 {
	spare, pure := float64(len(groups)-p), float64(s.n-len(groups))
	var inside float64
	for _, pt := range points {
		d := pt.y - groups[pt.group].mean()
		inside += pt.w * d * d
	}
	if spare < 1 || pure < 1 {
		return 0
	}
	between := max(0, s.rss-inside) / spare
	f := between / max(inside/pure, 1e-300)
	if s.lack = (distuv.F{D1: spare, D2: pure}).Survival(f) < lackLevel; s.lack {
		s.degree = spare
	}
	return between
}

// sandwich is the covariance of the coefficients under residuals of any variance. Where points lie in blocks of time,
// residuals of one block may go together. It says how many blocks there are: single points are one each.
func sandwich(x *mat.Dense, inverse *mat.SymDense, residuals []float64, points []point) (*mat.SymDense, int) {
	n, p := x.Dims()
	scores := map[int]*mat.VecDense{}
	for i := range n {
		row := x.RowView(i)
		var at mat.VecDense
		at.MulVec(inverse, row)
		block := points[i].within
		if block == 0 {
			block = -i - 1
		}
		if scores[block] == nil {
			scores[block] = mat.NewVecDense(p, nil)
		}
		scores[block].AddScaledVec(scores[block], residuals[i]/max(1-mat.Dot(row, &at), 1e-6), row)
	}
	meat := mat.NewSymDense(p, nil)
	for _, score := range scores {
		meat.SymRankOne(meat, 1, score)
	}
	var half, whole mat.Dense
	half.Mul(inverse, meat)
	whole.Mul(&half, inverse)
	cov := mat.NewSymDense(p, nil)
	for i := range p {
		for j := range i + 1 {
			cov.SetSym(i, j, whole.At(i, j))
		}
	}
	return cov, len(scores)
}

func scaled(m *mat.SymDense, by float64) *mat.SymDense {
	var s mat.SymDense
	s.ScaleSym(by, m)
	return &s
}

// half is half the 95 % interval of a coefficient.
func (s *solution) half(j int) float64 {
	row := make([]float64, len(s.coef))
	row[j] = 1
	return s.halfAt(row)
}

// halfAt is half the 95 % interval of the model's value for a row.
func (s *solution) halfAt(row []float64) float64 {
	x := mat.NewVecDense(len(row), row)
	return student(s.degree) * math.Sqrt(max(0, mat.Inner(x, s.cov, x)))
}

// aicc is Akaike's criterion, corrected for few points; k counts what was chosen beside the coefficients.
func (s *solution) aicc(k int) float64 { return aicc(s.rss, s.n, k) }

func aicc(rss float64, n, k int) float64 {
	points, parameters := float64(n), float64(k+1) // and the variance
	if points-parameters-1 <= 0 {
		return math.Inf(1)
	}
	return points*math.Log(max(rss/points, 1e-300)) + 2*parameters + 2*parameters*(parameters+1)/(points-parameters-1)
}

// student is the 97.5 % quantile of Student's t.
func student(degrees float64) float64 {
	return distuv.StudentsT{Mu: 0, Sigma: 1, Nu: degrees}.Quantile(0.975)
}

// average is a weighted mean.
type average struct{ sum, weight float64 }

func (a *average) add(y, w float64) { a.sum, a.weight = a.sum+w*y, a.weight+w }

func (a *average) mean() float64 { return a.sum / a.weight }
