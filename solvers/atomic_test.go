// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// A step is atomic. Each test makes a step fail, once as the very
// first and once after three good ones, and then goes on beside a twin that never
// saw the fault: weights, gradients and state must be the twin's to the bit.

// fault spoils one call of Step.
type fault struct {
	name  string
	kind  error
	wants []string // in the message
	// call is the slice that Step is given instead of m.
	call func(m []*param) []gorgonia.ValueGrad
}

// instead replaces the parameter called name.
func instead(name string, other func(p *param) gorgonia.ValueGrad) func([]*param) []gorgonia.ValueGrad {
	return func(m []*param) []gorgonia.ValueGrad {
		out := valueGrads(m)
		for i, p := range m {
			if p.name == name {
				out[i] = other(p)
			}
		}
		return out
	}
}

// broken has a gradient of its own, or an error in place of one.
type broken struct {
	*param
	w, g gorgonia.Value
	err  error
}

func (b *broken) Value() gorgonia.Value {
	if b.w != nil {
		return b.w
	}
	return b.param.Value()
}
func (b *broken) Grad() (gorgonia.Value, error) { return b.g, b.err }

// with gives p another gradient, of the right kind but for one element.
func with(element int, v float64) func(*param) gorgonia.ValueGrad {
	return func(p *param) gorgonia.ValueGrad {
		g := p.g.Clone().(*tensor.Dense)
		values := get(g)
		values[element] = v
		put(g, values)
		return &broken{param: p, g: g}
	}
}

// other is a tensor like t of another precision.
func other(t *tensor.Dense) *tensor.Dense {
	of := tensor.Float32
	if t.Dtype() == of {
		of = tensor.Float64
	}
	out := tensor.New(tensor.Of(of), tensor.WithShape(t.Shape()...))
	put(out, get(t))
	return out
}

func faults() []fault {
	boom := errors.New("boom")
	list := []fault{
		{"nil gradient", solvers.ErrNoGradient, []string{`"offset"`, "nil"}, instead("offset", func(p *param) gorgonia.ValueGrad { return &broken{param: p} })},
		{"error as gradient", solvers.ErrNoGradient, []string{`"conv2"`, "boom"}, instead("conv2", func(p *param) gorgonia.ValueGrad { return &broken{param: p, err: boom} })},
		{"gradient of another shape", solvers.ErrParameter, []string{`"norm2"`, "(1, 6, 1, 1)", "(6, 1, 1, 1)"}, instead("norm2", func(p *param) gorgonia.ValueGrad {
			return &broken{param: p, g: tensor.New(tensor.Of(p.w.Dtype()), tensor.WithShape(6, 1, 1, 1))}
		})},
		{"gradient of another size", solvers.ErrParameter, []string{`"offset"`, "(5)", "(4)"}, instead("offset", func(p *param) gorgonia.ValueGrad {
			return &broken{param: p, g: tensor.New(tensor.Of(p.w.Dtype()), tensor.WithShape(4))}
		})},
		{"gradient of another precision", solvers.ErrParameter, []string{`"conv2"`, "float32", "float64"}, instead("conv2", func(p *param) gorgonia.ValueGrad { return &broken{param: p, g: other(p.g)} })},
		{"gradient of integers", solvers.ErrParameter, []string{`"offset"`, "int"}, instead("offset", func(p *param) gorgonia.ValueGrad {
			return &broken{param: p, g: tensor.New(tensor.Of(tensor.Int), tensor.WithShape(5))}
		})},
		{"gradient that is the weights", solvers.ErrParameter, []string{`"offset"`}, instead("offset", func(p *param) gorgonia.ValueGrad { return &broken{param: p, g: p.w} })},
		{"nil parameter", solvers.ErrParameter, []string{"number 3", "nil"}, instead("norm2", func(*param) gorgonia.ValueGrad { return nil })},
		{"parameter twice", solvers.ErrParameter, []string{`"conv1"`, "twice"}, func(m []*param) []gorgonia.ValueGrad { return append(valueGrads(m), m[0]) }},
		{"parameter twice, in another wrapper", solvers.ErrParameter, []string{`as "bias1" and as "number 6"`, "one tensor"}, func(m []*param) []gorgonia.ValueGrad { return append(valueGrads(m), pair{m[1].w, m[1].g}) }},
	}
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		for _, at := range []struct {
			name    string
			element int
		}{{"conv1", 0}, {"conv2", 77}, {"offset", 4}} {
			list = append(list, fault{fmt.Sprintf("%v in %s", bad, at.name), solvers.ErrNotFinite,
				[]string{fmt.Sprintf("%q", at.name), fmt.Sprint(bad), fmt.Sprintf("element %d of", at.element)},
				instead(at.name, with(at.element, bad))})
		}
	}
	return list
}

// survives makes a step of solver fail, by attempt, after good steps, and
// compares what follows with a twin.
func survives(t *testing.T, of tensor.Dtype, make func() stepper, good int, attempt func(s stepper, m []*param) error, kind error, wants []string) {
	t.Helper()
	m, twin := model(of, 1), model(of, 1)
	solver, reference := make(), make()
	for step := range uint64(good) {
		run(t, solver, m, step)
		run(t, reference, twin, step)
	}
	gradients(m, 90)
	w, g := weights(m), slopes(m)

	err := attempt(solver, m)
	require.ErrorIs(t, err, kind)
	for _, want := range wants {
		assert.Contains(t, err.Error(), want)
	}
	assert.NotContains(t, err.Error(), "\n")
	assert.Regexp(t, "^solvers: ", err.Error())
	same(t, w, weights(m), "weights after the failed step")
	same(t, g, slopes(m), "gradients after the failed step")

	for step := range uint64(3) {
		run(t, solver, m, 10+step)
		run(t, reference, twin, 10+step)
		same(t, weights(twin), weights(m), "step ", step+1, " after the failed one")
	}
	sameReport(t, reference.Report(), solver.Report())
}

func TestFailedStepChangesNothing(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.01) {
			for i, f := range faults() {
				at := s.beyond()[i%len(s.beyond())]
				for _, good := range []int{0, 3} {
					t.Run(fmt.Sprintf("%v/%s/%s/after %d", of, s.name, f.name, good), func(t *testing.T) {
						survives(t, of, func() stepper { return s.of(at.kernels()) }, good, func(s stepper, m []*param) error {
							return s.Step(f.call(m))
						}, f.kind, f.wants)
					})
				}
			}
		}
	}
}

// A value that changes its shape or precision under the same parameter.
func TestShapeAndPrecisionAreFixed(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.01) {
			for _, c := range []struct {
				name  string
				value func(w *tensor.Dense) *tensor.Dense
				wants []string
			}{
				{"shape", func(w *tensor.Dense) *tensor.Dense {
					return tensor.New(tensor.Of(w.Dtype()), tensor.WithShape(4, 6, 2, 3))
				}, []string{"(6, 4, 2, 3)", "(4, 6, 2, 3)"}},
				{"shape over the same memory", func(w *tensor.Dense) *tensor.Dense {
					return tensor.New(tensor.WithBacking(w.Data()), tensor.WithShape(4, 6, 2, 3))
				}, []string{"(6, 4, 2, 3)", "(4, 6, 2, 3)"}},
				{"precision", other, []string{"float32", "float64"}},
			} {
				t.Run(of.String()+"/"+s.name+"/"+c.name, func(t *testing.T) {
					survives(t, of, func() stepper { return s.of(solvers.Kernels(manifolds.Stiefel{})) }, 2, func(s stepper, m []*param) error {
						p := m[2]
						kept, slope := p.w, p.g
						p.w = c.value(kept)
						p.g = tensor.New(tensor.Of(p.w.Dtype()), tensor.WithShape(p.w.Shape()...))
						err := s.Step(valueGrads(m))
						p.w, p.g = kept, slope
						return err
					}, solvers.ErrParameter, append(c.wants, `"conv2"`))
				})
			}
		}
	}
}

// fragile is a manifold one of whose operations fails when told to.
type fragile struct {
	manifolds.Manifold
	at *breakage
}

type breakage struct {
	op    string
	calls int // that go well before the failure
}

var errBreakage = errors.New("as told")

func (f fragile) fails(op string) error {
	if f.at.op != op {
		return nil
	}
	f.at.calls--
	if f.at.calls == -1 {
		return errBreakage
	}
	return nil
}

func (f fragile) Project(dst, x manifolds.Points) error {
	if err := f.fails("project"); err != nil {
		return err
	}
	return f.Manifold.Project(dst, x)
}

func (f fragile) Tangent(dst, x, g manifolds.Points) error {
	if err := f.fails("tangent"); err != nil {
		return err
	}
	return f.Manifold.Tangent(dst, x, g)
}

func (f fragile) Retract(dst, x, v manifolds.Points) error {
	if err := f.fails("retract"); err != nil {
		return err
	}
	return f.Manifold.Retract(dst, x, v)
}

func (f fragile) Transport(dst, x, y, u manifolds.Points) error {
	if err := f.fails("transport"); err != nil {
		return err
	}
	return f.Manifold.Transport(dst, x, y, u)
}

func (f fragile) Scaled(s float64) manifolds.Manifold {
	return fragile{f.Manifold.(manifolds.Scalable).Scaled(s), f.at}
}
func (f fragile) Norm(n, p int) float64 { return f.Manifold.(manifolds.Scalable).Norm(n, p) }
func (f fragile) Sized() bool           { return f.Manifold.(manifolds.Scalable).Sized() }

// The second kernel cannot go where it should, when the first and the bias
// between are already on their way.
func TestFailedManifoldChangesNothing(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.01) {
			for _, op := range []string{"retract", "tangent", "transport"} {
				for _, good := range []int{0, 3} {
					t.Run(fmt.Sprintf("%v/%s/%s/after %d", of, s.name, op, good), func(t *testing.T) {
						if !s.memoryless && op != "tangent" {
							t.Skip("what the wrapped solver did to its own state cannot be taken back: see TestFailedManifoldUnderAStockSolver")
						}
						armed := &breakage{}
						make := func() stepper { return s.of(solvers.Kernels(fragile{manifolds.Sphere{}, armed})) }
						if op == "transport" && !transports(t, make, armed) {
							t.Skip("the solver transports nothing")
						}
						first := 1 // calls for the first kernel
						if s.layers && !s.plans && op == "tangent" {
							first = 3 // Muon projects the gradient and each round
						}
						survives(t, of, make, good, func(s stepper, m []*param) error {
							*armed = breakage{op, first}
							err := s.Step(valueGrads(m))
							*armed = breakage{}
							return err
						}, errBreakage, []string{`"conv2"`, "as told"})
					})
				}
			}
		}
	}
}

// transports tells whether a solver on a fragile manifold calls Transport.
func transports(t *testing.T, make func() stepper, at *breakage) bool {
	t.Helper()
	*at = breakage{"transport", 1000}
	run(t, make(), model(tensor.Float64, 1), 1)
	called := at.calls < 1000
	*at = breakage{}
	return called
}

// Under a stock solver with momentum the weights and gradients are as before.
func TestFailedManifoldUnderAStockSolver(t *testing.T) {
	for _, of := range precisions {
		for _, s := range wrapped(0.01) {
			t.Run(of.String()+"/"+s.name, func(t *testing.T) {
				armed := &breakage{}
				m := model(of, 1)
				solver := s.of(solvers.Kernels(fragile{manifolds.Sphere{}, armed}))
				run(t, solver, m, 1)
				gradients(m, 2)
				w, g := weights(m), slopes(m)
				*armed = breakage{"retract", 1}
				require.ErrorIs(t, solver.Step(valueGrads(m)), errBreakage)
				same(t, w, weights(m))
				same(t, g, slopes(m))
				require.NoError(t, solver.Step(valueGrads(m)))
			})
		}
	}
}

// After Init nothing is lost by a first step that fails, early or late: weights
// are on the manifold already, at the scale that Init found, and the report says
// that they were projected.
func TestFailedFirstStepAfterInit(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.01) {
			for _, late := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v/%s/late %t", of, s.name, late), func(t *testing.T) {
					if late && !s.memoryless {
						t.Skip("what the wrapped solver did to its own state cannot be taken back")
					}
					armed := &breakage{}
					kernels := solvers.Kernels(fragile{manifolds.Sphere{}, armed}, manifolds.Initial, manifolds.PerSlice)
					m, twin := model(of, 1), model(of, 1)
					solver, reference := s.of(kernels), s.of(kernels)
					require.NoError(t, solver.Init(valueGrads(m)))
					require.NoError(t, reference.Init(valueGrads(twin)))
					gradients(m, 1)
					if late {
						*armed = breakage{"retract", 1}
						require.ErrorIs(t, solver.Step(valueGrads(m)), errBreakage)
						*armed = breakage{}
					} else {
						require.ErrorIs(t, solver.Step(instead("offset", with(0, math.NaN()))(m)), solvers.ErrNotFinite)
					}
					run(t, solver, m, 1)
					run(t, reference, twin, 1)
					same(t, weights(twin), weights(m))
					sameReport(t, reference.Report(), solver.Report())
				})
			}
		}
	}
}

// A step that fails late, for a gradient that is finite and too long, is no different: not even in how the next one is made.
func TestTooLongAGradientChangesNothing(t *testing.T) {
	for _, of := range precisions {
		long := map[tensor.Dtype]float64{tensor.Float32: 1e38, tensor.Float64: 1e307}[of]
		for _, s := range native(1e10) {
			if s.plans && !s.layers {
				continue // no gradient of a single point is too long
			}
			for _, good := range []int{0, 3} {
				t.Run(fmt.Sprintf("%v/%s/after %d", of, s.name, good), func(t *testing.T) {
					survives(t, of, func() stepper { return s.of(solvers.LearnRate(0.01), solvers.Kernels(manifolds.Sphere{})) }, good, func(s stepper, m []*param) error {
						for _, p := range m {
							kept := p.g
							defer func() { p.g = kept }()
							p.g = p.g.Clone().(*tensor.Dense)
							g := get(p.g)
							for i := range g {
								g[i] *= long
							}
							put(p.g, g)
						}
						solver := s.(*solvers.Solver)
						lr := solver.Report().LearnRate
						require.NoError(t, solver.SetLearnRate(1e38))
						err := solver.Step(valueGrads(m))
						require.NoError(t, solver.SetLearnRate(lr))
						return err
					}, solvers.ErrDiverged, nil)
				})
			}
		}
	}
}
