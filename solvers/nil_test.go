// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// A nil node among the parameters is an error that says where it is, and nothing moves.
func TestNilNode(t *testing.T) {
	m := model(tensor.Float64, 1)
	gradients(m, 1)
	before := weights(m)
	with := append(valueGrads(m), gorgonia.NodesToValueGrads(gorgonia.Nodes{nil})...)
	for name, s := range map[string]gorgonia.Solver{
		"SGD": solvers.NewSGD(), "EMA": solvers.NewEMA(solvers.NewSGD(), 0.9), "Constrain": solvers.Constrain(gorgonia.NewVanillaSolver(), manifolds.Sphere{}),
	} {
		err := s.Step(with)
		require.ErrorIs(t, err, solvers.ErrParameter, name)
		assert.Contains(t, err.Error(), `"number 6"`, name)
		same(t, before, weights(m))
	}
}

// attempt calls f, and turns a panic into an error of no kind.
func attempt(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return f()
}

// What is missing (nil, a nil pointer in an interface, a value that no function of the package has made) is an error that says so, and nothing moves.
func TestMissing(t *testing.T) {
	m := model(tensor.Float64, 1)
	gradients(m, 1)
	before, slope := weights(m), slopes(m)
	vg := valueGrads(m)
	cost := func() (float64, error) { return 0, nil }
	ctx := context.Background()
	sphere := manifolds.Sphere{}
	var (
		noSolver   *solvers.Solver
		noSAM      *solvers.SAM
		noAverage  *solvers.Average
		noStock    *gorgonia.Momentum
		noManifold *manifolds.Sphere
		noNode     *gorgonia.Node
	)
	bare := gorgonia.NewTensor(gorgonia.NewGraph(), tensor.Float64, 1, gorgonia.WithName("w"), gorgonia.WithShape(3))
	nilNode := []gorgonia.ValueGrad{noNode}
	scale := func(p *solvers.Part) (float64, error) { return p.Scale(), nil }
	for _, c := range []struct {
		name string
		kind error
		call func() error
	}{
		{"zero Solver, Step", solvers.ErrOption, func() error { return (&solvers.Solver{}).Step(vg) }},
		{"zero Solver, Init", solvers.ErrOption, func() error { return (&solvers.Solver{}).Init(vg) }},
		{"zero Solver, SetLearnRate", solvers.ErrOption, func() error { return (&solvers.Solver{}).SetLearnRate(1) }},
		{"zero Solver, Snapshot", solvers.ErrOption, func() error { _, err := (&solvers.Solver{}).Snapshot(); return err }},
		{"zero Solver, Restore", solvers.ErrOption, func() error { return (&solvers.Solver{}).Restore(vg, &solvers.Snapshot{}) }},
		{"zero Solver, Rescale", solvers.ErrOption, func() error { return (&solvers.Solver{}).Rescale(vg, scale) }},
		{"zero Solver, Report", solvers.ErrOption, func() error { return (&solvers.Solver{}).Report().Err }},
		{"nil Solver, Step", solvers.ErrOption, func() error { return noSolver.Step(vg) }},
		{"nil Solver, Init", solvers.ErrOption, func() error { return noSolver.Init(vg) }},
		{"nil Solver, SetLearnRate", solvers.ErrOption, func() error { return noSolver.SetLearnRate(1) }},
		{"nil Solver, Snapshot", solvers.ErrOption, func() error { _, err := (noSolver).Snapshot(); return err }},
		{"nil Solver, Restore", solvers.ErrOption, func() error { return noSolver.Restore(vg, &solvers.Snapshot{}) }},
		{"nil Solver, Rescale", solvers.ErrOption, func() error { return noSolver.Rescale(vg, scale) }},
		{"nil Solver, Report", solvers.ErrOption, func() error { return noSolver.Report().Err }},
		{"zero Constrained, Step", solvers.ErrOption, func() error { return (&solvers.Constrained{}).Step(vg) }},
		{"zero Constrained, Init", solvers.ErrOption, func() error { return (&solvers.Constrained{}).Init(vg) }},
		{"zero Constrained, SetLearnRate", solvers.ErrOption, func() error { return (&solvers.Constrained{}).SetLearnRate(1) }},
		{"zero Constrained, Snapshot", solvers.ErrOption, func() error { _, err := (&solvers.Constrained{}).Snapshot(); return err }},
		{"zero Constrained, Report", solvers.ErrOption, func() error { return (&solvers.Constrained{}).Report().Err }},
		{"zero SAM, Ascend", solvers.ErrOption, func() error { return (&solvers.SAM{}).Ascend(vg) }},
		{"zero SAM, Step", solvers.ErrOption, func() error { return (&solvers.SAM{}).Step(vg) }},
		{"zero SAM, Init", solvers.ErrOption, func() error { return (&solvers.SAM{}).Init(vg) }},
		{"zero SAM, SetLearnRate", solvers.ErrOption, func() error { return (&solvers.SAM{}).SetLearnRate(1) }},
		{"zero SAM, Snapshot", solvers.ErrOption, func() error { _, err := (&solvers.SAM{}).Snapshot(); return err }},
		{"zero SAM, Restore", solvers.ErrOption, func() error { return (&solvers.SAM{}).Restore(vg, &solvers.Snapshot{}) }},
		{"zero SAM, Rescale", solvers.ErrOption, func() error { return (&solvers.SAM{}).Rescale(vg, scale) }},
		{"zero SAM, Report", solvers.ErrOption, func() error { return (&solvers.SAM{}).Report().Err }},
		{"zero Average, Step", solvers.ErrOption, func() error { return (&solvers.Average{}).Step(vg) }},
		{"zero Average, Swap", solvers.ErrOption, func() error { return (&solvers.Average{}).Swap(vg) }},
		{"zero Average, Snapshot", solvers.ErrOption, func() error { _, err := (&solvers.Average{}).Snapshot(); return err }},
		{"zero Average, Restore", solvers.ErrOption, func() error { return (&solvers.Average{}).Restore(vg, &solvers.Snapshot{}) }},
		{"zero Average, Rescale", solvers.ErrOption, func() error { return (&solvers.Average{}).Rescale(vg, scale) }},
		{"zero Average, Report", solvers.ErrOption, func() error { return (&solvers.Average{}).Report().Err }},
		{"zero Average, SetLearnRate", solvers.ErrOption, func() error { return solvers.SetLearnRate(&solvers.Average{}, 1) }},

		{"NewEMA of nil", solvers.ErrOption, func() error { return (solvers.NewEMA(nil, 0.9)).Step(vg) }},
		{"NewEMA of a nil Solver", solvers.ErrOption, func() error { return (solvers.NewEMA(noSolver, 0.9)).Step(vg) }},
		{"NewSWA of a nil SAM", solvers.ErrOption, func() error { return (solvers.NewSWA(noSAM)).Step(vg) }},
		{"NewSWA of a nil stock solver", solvers.ErrOption, func() error { return (solvers.NewSWA(noStock)).Step(vg) }},
		{"NewSWA of a nil Average", solvers.ErrOption, func() error { return (solvers.NewSWA(noAverage)).Step(vg) }},
		{"NewSWA of a zero Solver", solvers.ErrOption, func() error { return (solvers.NewSWA(&solvers.Solver{})).Step(vg) }},
		{"NewSWA of a zero SAM", solvers.ErrOption, func() error { return (solvers.NewSWA(&solvers.SAM{})).Step(vg) }},
		{"NewSWA of a zero Constrained", solvers.ErrOption, func() error { return (solvers.NewSWA(&solvers.Constrained{})).Step(vg) }},
		{"NewSWA of a zero Average", solvers.ErrOption, func() error { return (solvers.NewSWA(&solvers.Average{})).Step(vg) }},
		{"NewSWA by distance of a zero SAM", solvers.ErrOption, func() error { return (solvers.NewSWA(&solvers.SAM{}, solvers.AverageByDistance())).Step(vg) }},
		{"NewSWA by distance of a nil SAM", solvers.ErrOption, func() error { return (solvers.NewSWA(noSAM, solvers.AverageByDistance())).Step(vg) }},
		{"NewSWA with a nil option", solvers.ErrOption, func() error { return (solvers.NewSWA(solvers.NewSGD(), nil)).Step(vg) }},
		{"NewSAM of nil", solvers.ErrOption, func() error { return solvers.NewSAM(nil, 0.1).Ascend(vg) }},
		{"NewSAM of a zero Solver", solvers.ErrOption, func() error { return solvers.NewSAM(&solvers.Solver{}, 0.1).Ascend(vg) }},
		{"NewSAM of nil, Step", solvers.ErrOption, func() error { return (solvers.NewSAM(nil, 0.1)).Step(vg) }},
		{"Constrain of nil", solvers.ErrOption, func() error { return (solvers.Constrain(nil, sphere)).Step(vg) }},
		{"Constrain of a nil stock solver", solvers.ErrOption, func() error { return (solvers.Constrain(noStock, sphere)).Step(vg) }},
		{"Constrain of a nil Solver", solvers.ErrOption, func() error { return (solvers.Constrain(noSolver, sphere)).Step(vg) }},
		{"ConstrainWith a nil option", solvers.ErrOption, func() error { return (solvers.ConstrainWith(gorgonia.NewVanillaSolver(), solvers.Option{})).Step(vg) }},
		{"SetLearnRate of nil", solvers.ErrOption, func() error { return solvers.SetLearnRate(nil, 1) }},
		{"SetLearnRate of a nil Solver", solvers.ErrOption, func() error { return solvers.SetLearnRate(noSolver, 1) }},
		{"SetLearnRate of a nil SAM", solvers.ErrOption, func() error { return solvers.SetLearnRate(noSAM, 1) }},
		{"SetLearnRate of a nil Average", solvers.ErrOption, func() error { return solvers.SetLearnRate(noAverage, 1) }},
		{"SetLearnRate of a nil stock solver", solvers.ErrOption, func() error { return solvers.SetLearnRate(noStock, 1) }},
		{"New of nil", solvers.ErrOption, func() error { return (solvers.New(nil)).Step(vg) }},
		{"New of a nil pointer", solvers.ErrOption, func() error { return (solvers.New((*noRule)(nil))).Step(vg) }},

		{"zero option", solvers.ErrOption, func() error { return solvers.NewSGD(solvers.Option{}).Step(vg) }},
		{"nil option in With", solvers.ErrOption, func() error { return solvers.NewSGD(solvers.Param("conv1", sphere).With(solvers.Option{})).Step(vg) }},
		{"With of a nil option", solvers.ErrOption, func() error { return solvers.NewSGD(solvers.Option{}.With(solvers.Frozen())).Step(vg) }},
		{"Kernels of nil", solvers.ErrOption, func() error { return solvers.NewSGD(solvers.Kernels(nil)).Step(vg) }},
		{"Kernels of a nil pointer", solvers.ErrOption, func() error { return solvers.NewSGD(solvers.Kernels(noManifold)).Step(vg) }},
		{"Kernels with a nil option", solvers.ErrOption, func() error { return solvers.NewSGD(solvers.Kernels(sphere, nil)).Step(vg) }},
		{"Param of a nil pointer", solvers.ErrOption, func() error { return solvers.NewSGD(solvers.Param("conv1", noManifold)).Step(vg) }},
		{"Where of nil", solvers.ErrOption, func() error { return solvers.NewSGD(solvers.Where(nil, sphere)).Step(vg) }},
		{"Anneal of a schedule of nil", solvers.ErrOption, func() error { return solvers.NewSGD(solvers.Anneal(solvers.NewSchedule("none", nil))).Step(vg) }},
		{"Tune of nil", solvers.ErrOption, func() error { return solvers.NewSGD(solvers.Tune("none", nil)).Step(vg) }},
		{"Tune to nil", solvers.ErrOption, func() error {
			return solvers.NewSGD(solvers.Tune("none", func(solvers.Rule) (solvers.Rule, bool) { return nil, true })).Step(vg)
		}},
		{"RestBy of nil", solvers.ErrOption, func() error { return (solvers.NewMuon(solvers.RestBy(nil))).Step(vg) }},
		{"RestBy of a zero Solver", solvers.ErrOption, func() error { return (solvers.NewMuon(solvers.RestBy(&solvers.Solver{}))).Step(vg) }},
		{"AfterIteration of nil", solvers.ErrOption, func() error { _, err := solvers.Minimize(ctx, vg, cost, solvers.AfterIteration(nil)); return err }},

		{"a nil node", solvers.ErrParameter, func() error { return solvers.NewSGD().Step(nilNode) }},
		{"a parameter without weights", solvers.ErrParameter, func() error { return solvers.NewSGD().Step([]gorgonia.ValueGrad{&param{name: "w"}}) }},
		{"a node without weights", solvers.ErrParameter, func() error { return solvers.NewSGD().Step([]gorgonia.ValueGrad{bare}) }},
		{"a parameter without a gradient", solvers.ErrNoGradient, func() error { return solvers.NewSGD().Step([]gorgonia.ValueGrad{&param{name: "w", w: m[0].w}}) }},
		{"a zero parameter in an interface", solvers.ErrParameter, func() error { return solvers.NewSGD().Step([]gorgonia.ValueGrad{pair{}}) }},
		{"a nil node, SAM", solvers.ErrParameter, func() error { return solvers.NewSAM(solvers.NewSGD(), 0.1).Ascend(nilNode) }},
		{"a nil node, average of a stock solver", solvers.ErrParameter, func() error { return solvers.NewEMA(gorgonia.NewVanillaSolver(), 0.9).Step(nilNode) }},
		{"a nil node, Minimize", solvers.ErrParameter, func() error { _, err := solvers.Minimize(ctx, nilNode, cost); return err }},
		{"a nil node, CheckGradient", solvers.ErrParameter, func() error { _, err := solvers.CheckGradient(ctx, nilNode, cost); return err }},
		{"a nil node, SingularValues", solvers.ErrParameter, func() error { _, err := solvers.SingularValues(noNode); return err }},
		{"nil, SingularValues", solvers.ErrParameter, func() error { _, err := solvers.SingularValues(nil); return err }},
		{"no cost, Minimize", solvers.ErrParameter, func() error { _, err := solvers.Minimize(ctx, vg, nil); return err }},
		{"no cost, CheckGradient", solvers.ErrParameter, func() error { _, err := solvers.CheckGradient(ctx, vg, nil); return err }},
		{"CostOf without a machine", solvers.ErrParameter, func() error { _, err := solvers.CostOf(nil, new(gorgonia.Value))(); return err }},
		{"CostOf without a value", solvers.ErrParameter, func() error {
			_, err := solvers.CostOf(gorgonia.NewLispMachine(gorgonia.NewGraph()), nil)()
			return err
		}},
		{"nil option, Minimize", solvers.ErrOption, func() error { _, err := solvers.Minimize(ctx, vg, cost, solvers.Option{}); return err }},
		{"nil option, CheckGradient", solvers.ErrOption, func() error { _, err := solvers.CheckGradient(ctx, vg, cost, solvers.Option{}); return err }},
		{"Restore of nil", solvers.ErrParameter, func() error { return solvers.NewSGD().Restore(vg, nil) }},
		{"Restore of nil, SAM", solvers.ErrParameter, func() error { return solvers.NewSAM(solvers.NewSGD(), 0.1).Restore(vg, nil) }},
		{"Restore of nil, Average", solvers.ErrParameter, func() error { return solvers.NewSWA(solvers.NewSGD()).Restore(vg, nil) }},
		{"Rescale by nil", solvers.ErrOption, func() error { return solvers.NewSGD(solvers.Kernels(sphere)).Rescale(vg, nil) }},
		{"Rescale by nil, Average", solvers.ErrOption, func() error { return solvers.NewSWA(solvers.NewSGD(solvers.Kernels(sphere))).Rescale(vg, nil) }},
		{"zero Share", solvers.ErrOption, func() error { return solvers.NewSGD().StepShare(vg, solvers.Share{}) }},
		{"zero Share, SAM", solvers.ErrOption, func() error { return solvers.NewSAM(solvers.NewSGD(), 0.1).AscendShare(vg, solvers.Share{}) }},
		{"zero Share, Average", solvers.ErrOption, func() error { return solvers.NewSWA(solvers.NewSGD()).StepShare(vg, solvers.Share{}) }},
		{"zero Share, average of a stock solver", solvers.ErrOption, func() error { return solvers.NewSWA(gorgonia.NewVanillaSolver()).StepShare(vg, solvers.Share{}) }},
		{"Share without Exchange", solvers.ErrOption, func() error {
			return solvers.NewSGD().StepShare(vg, solvers.Share{Size: 2, Agree: func(err error, _ uint64) error { return err }})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := attempt(c.call)
			require.ErrorIs(t, err, c.kind)
			assert.Contains(t, err.Error(), "want ")
			same(t, before, weights(m))
			same(t, slope, slopes(m))
		})
	}

	for name, call := range map[string]func(){
		"zero values print": func() {
			_ = fmt.Sprint(&solvers.Solver{}, noSolver, &solvers.SAM{}, &solvers.Constrained{}, &solvers.Average{}, solvers.Report{}, solvers.GradientCheck{}, solvers.Schedule{}, &solvers.ParameterError{})
			_ = solvers.Report{}.HTML() + solvers.Report{}.Full() + solvers.Schedule{}.String() + (&solvers.SAM{}).String() + (&solvers.Average{}).String() + (&solvers.Constrained{}).String()
		},
		"LearnRate": func() { _, _, _ = (&solvers.Solver{}).LearnRate(), noSolver.LearnRate(), (&solvers.SAM{}).LearnRate() },
		"Forget":    func() { _, _, _ = (&solvers.Solver{}).Forget(), noSolver.Forget(), (&solvers.Constrained{}).Forget() },
		"SAM":       func() { (&solvers.SAM{}).Cancel(); _ = (&solvers.SAM{}).Unwrap() },
		"Average":   func() { (&solvers.Average{}).SwapBack(); _ = (&solvers.Average{}).Count() },
		"nil Err":   func() { _ = solvers.GradientCheck{}.Err() },
		"At":        func() { _ = solvers.Schedule{}.At(1) },
	} {
		t.Run(name, func(t *testing.T) { assert.NotPanics(t, call) })
	}
}

// noRule is a rule of which there is only a nil pointer.
type noRule struct{ name string }

func (r *noRule) Name() string                  { return r.name }
func (r *noRule) State() []solvers.State        { return nil }
func (r *noRule) Direction(*solvers.Part) error { return nil }
