// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/solvers"
)

func TestSchedules(t *testing.T) {
	for _, c := range []struct {
		schedule solvers.Schedule
		want     func(t int) float64
	}{
		{solvers.Schedule{}, func(int) float64 { return 1 }},
		{solvers.Constant(), func(int) float64 { return 1 }},
		{solvers.StepDecay(7, 0.5), func(t int) float64 { return math.Pow(0.5, math.Floor(float64(t)/7)) }},
		{solvers.Cosine(20, 0.1), func(t int) float64 {
			if t > 20 {
				return 0.1
			}
			return 0.1 + 0.45*(1+math.Cos(math.Pi*float64(t)/20))
		}},
		{solvers.Warmup(5, solvers.StepDecay(3, 0.1)), func(t int) float64 {
			if t < 5 {
				return float64(t+1) / 5
			}
			return math.Pow(0.1, math.Floor(float64(t-5)/3))
		}},
		{solvers.RobbinsMonro(10, 1), func(t int) float64 { return 10 / (10 + float64(t)) }},
		{solvers.RobbinsMonro(4, 0.75), func(t int) float64 { return math.Pow(4/(4+float64(t)), 0.75) }},
		{solvers.NewSchedule("mine", func(t int) float64 { return 1 / float64(1+t*t) }), func(t int) float64 { return 1 / float64(1+t*t) }},
	} {
		t.Run(c.schedule.String(), func(t *testing.T) {
			// Against a constant gradient of 1 the weight shows every rate.
			p := newParam("p", tensor.Float64, 1)
			s := solvers.NewSGD(solvers.LearnRate(0.5), solvers.Anneal(c.schedule))
			sum := 0.0
			for step := range 40 {
				want := c.want(step)
				require.InDelta(t, want, c.schedule.At(step), 1e-14, "step %d", step)
				require.InDelta(t, 0.5*want, s.Report().LearnRate, 1e-14)
				put(p.g, []float64{1})
				require.NoError(t, s.Step(valueGrads([]*param{p})))
				sum -= 0.5 * want
				require.InDelta(t, sum, get(p.w)[0], 1e-13, "step %d", step)
			}
		})
	}
}

func TestCheckRobbinsMonro(t *testing.T) {
	power := func(a float64) solvers.Schedule {
		return solvers.NewSchedule("t^-a", func(t int) float64 { return math.Pow(float64(t+1), -a) })
	}
	for _, c := range []struct {
		name     string
		schedule solvers.Schedule
		fine     bool
	}{
		{"1/t", power(1), true},
		{"t^-0.6", power(0.6), true},
		{"Robbins-Monro", solvers.RobbinsMonro(1000, 1), true},
		{"Robbins-Monro 0.6", solvers.RobbinsMonro(1000, 0.6), true},
		{"warm-up, then Robbins-Monro", solvers.Warmup(500, solvers.RobbinsMonro(10, 0.75)), true},
		{"constant", solvers.Constant(), false},
		{"t^-0.5", power(0.5), false},
		{"t^-0.3", power(0.3), false},
		{"t^-2", power(2), false},
		{"t", power(-1), false},
		{"zero", solvers.NewSchedule("zero", func(int) float64 { return 0 }), false},
		{"nan", solvers.NewSchedule("nan", func(int) float64 { return nan }), false},
		{"step decay", solvers.StepDecay(30, 0.1), false},
		{"cosine to 0", solvers.Cosine(100, 0), false},
		{"cosine to 0.1", solvers.Cosine(100, 0.1), false},
		{"warm-up, then cosine", solvers.Warmup(10, solvers.Cosine(100, 0)), false},
		{"power 1/2", solvers.RobbinsMonro(10, 0.5), false},
		{"power 1.5", solvers.RobbinsMonro(10, 1.5), false},
		{"no function", solvers.NewSchedule("mine", nil), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := solvers.CheckRobbinsMonro(c.schedule)
			if c.fine {
				assert.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, solvers.ErrOption)
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}
