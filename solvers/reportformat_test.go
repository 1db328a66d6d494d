// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

var update = flag.Bool("update", false, "write testdata/report anew")

// The text of reports is that of testdata/report, which -update writes. No line is longer than 80 columns, except for a name that is longer than a line.
func TestReportText(t *testing.T) {
	for name, r := range map[string]func(*testing.T) solvers.Report{
		"deep": deepReport, "names": namesReport, "broken": brokenReport, "parts": partsReport, "gone": goneReport,
		"rdog": func(t *testing.T) solvers.Report {
			return stepped(t, solvers.NewRDoG(solvers.Kernels(manifolds.Stiefel{})))
		},
		"rdog-half": func(t *testing.T) solvers.Report {
			return stepped(t, solvers.NewRDoG(solvers.LearnRate(0.5), solvers.Kernels(manifolds.Stiefel{})))
		},
		"constrain": func(t *testing.T) solvers.Report {
			return stepped(t, solvers.Constrain(gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(0.5)), manifolds.Sphere{}))
		},
		"rate-0": func(t *testing.T) solvers.Report {
			return stepped(t, solvers.NewMuon(solvers.RestBy(solvers.NewSGD()), solvers.Anneal(solvers.Cosine(1, 0))))
		},
		"nothing": func(*testing.T) solvers.Report { return solvers.NewAdam().Report() },
	} {
		t.Run(name, func(t *testing.T) {
			report := r(t)
			for i, p := range report.Parameters {
				if p.Membership < 1e-12 { // rounding errors differ from machine to machine
					report.Parameters[i].Membership = 0
				}
			}
			got := report.String()
			if full := report.Full(); full != got && len(report.Parameters) < 10 {
				got += "\nFull:\n" + full
			}
			file := filepath.Join("testdata", "report", name+".txt")
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, string(want), got)
			for line := range strings.Lines(got) {
				if !strings.Contains(line, "/block4/") && !strings.Contains(line, "核") {
					assert.LessOrEqual(t, len([]rune(line)), 81, line)
				}
			}
		})
	}
}

// stepped makes a step of two.
func stepped(t *testing.T, s interface {
	gorgonia.Solver
	Report() solvers.Report
}) solvers.Report {
	require.NoError(t, s.Step(valueGrads(two(tensor.Float64, 1))))
	return s.Report()
}

func kernelReport(name string, shape ...int) solvers.ParameterReport {
	return solvers.ParameterReport{Name: name, Shape: shape, Kernel: true, Role: "filter of Conv2d", Manifold: "Stiefel(r=4)", Grouping: "filter bank", Rule: "SGD",
		Points: 1, N: shape[0], P: 9 * shape[1], LearnRate: 0.1, Gradient: 1.25e-3, Direction: 0.5, StepLength: 0.05, Angle: 0.0125, GeometricFactor: 1,
		Outwardness: [2]float64{-0.1, 0.2}, Condition: 1, Membership: 3.25e-7}
}

func freeReport(name string, n int) solvers.ParameterReport {
	return solvers.ParameterReport{Name: name, Shape: tensor.Shape{n}, Role: "bias", Manifold: "Euclidean", Rule: "SGD", Points: 1, N: n, P: 1,
		LearnRate: 0.1, Gradient: 12, Direction: 12, StepLength: 1.2, Angle: 0.5, GeometricFactor: 1}
}

// deepReport is of a net of 19 kernels on Stiefel, one that is free, and their biases.
func deepReport(*testing.T) solvers.Report {
	r := solvers.Report{Solver: "SGD", Steps: 117_300, LearnRate: 0.1}
	for i := range 19 {
		p := kernelReport("layer"+string(rune('a'+i)), 16<<(i/8), 16<<(i/8), 3, 3)
		p.Gradient *= math.Pow(3, float64(i))
		p.Projected = true
		p.Reprojections = i / 18
		r.Parameters = append(r.Parameters, p, freeReport("bias"+string(rune('a'+i)), p.N))
	}
	r.Parameters[34].Reprojections = 1
	p := kernelReport("first", 16, 3, 3, 3)
	p.Manifold, p.Grouping, p.Membership, p.Condition, p.Dead = "Euclidean", "", 0, math.Inf(1), 2
	r.Parameters = append(r.Parameters, p)
	return r
}

// namesReport has names that are long, in other scripts, and with what a terminal would obey.
func namesReport(*testing.T) solvers.Report {
	r := solvers.Report{Solver: "SGD", Steps: 1, LearnRate: 0.1, Warnings: []string{"核: two parameters have this name"}}
	for _, name := range []string{"encoder/block4/" + strings.Repeat("residual/", 9) + "kernel", "conv with spaces", "畳み込み層一の核", "noyau_é", "красный", "a\x1b[31m\nb"} {
		p := kernelReport(name, 8, 4, 3, 3)
		p.Still = len(name)
		r.Parameters = append(r.Parameters, p)
	}
	return r
}

// brokenReport is of a run that diverged.
func brokenReport(*testing.T) solvers.Report {
	r := solvers.Report{Solver: "SGD", Steps: 3, LearnRate: 1e-12, Refused: 2, Err: errors.New("solvers: conv1: want a finite gradient, got NaN at [0 1 2 2]"),
		Warnings: []string{"conv1: ambient momentum does not converge: its gradient points outward, 1.23e+05 times the bound (1 - theta)^2/theta; use TangentMomentum or a smaller rate"}}
	for i, name := range []string{"conv1", "conv2"} {
		p := kernelReport(name, 8, 4, 3, 3)
		if i == 0 {
			p.Gradient, p.Membership, p.Condition, p.Angle = math.NaN(), math.NaN(), math.NaN(), math.Inf(1)
		}
		r.Parameters = append(r.Parameters, p)
	}
	return r
}

// partsReport is of an ensemble, two parts of a kernel.
func partsReport(t *testing.T) solvers.Report {
	m := two(tensor.Float64, 1)
	m[0] = newParam("kernel", tensor.Float64, 2, 2, 1, 2)
	put(m[0].w, []float64{1, 0, 0, 1, 1, 0, 0, 1})
	put(m[0].g, []float64{3, 4, 0, 2, 3, 4, 0, 2})
	s := solvers.NewSGD(solvers.LearnRate(0.5), solvers.Kernels(manifolds.Ensemble{Strategy: manifolds.PI, Seed: 1,
		Parts: manifolds.Equal(manifolds.Sphere{}, manifolds.Euclidean{})}))
	require.NoError(t, s.Step(valueGrads(m)))
	return s.Report()
}

// goneReport is of a kernel whose graph is gone.
func goneReport(t *testing.T) solvers.Report {
	s := solvers.NewSGD(solvers.LearnRate(0.5), solvers.Kernels(manifolds.Sphere{}))
	p := two(tensor.Float64, 1)[0]
	require.NoError(t, s.Step([]gorgonia.ValueGrad{rebuild("kernel", p.w, p.g)}))
	runtime.GC()
	return s.Report()
}

// Quoted names obey nothing.
func TestReportQuotesNames(t *testing.T) {
	text := namesReport(t).Full()
	assert.NotContains(t, text, "\x1b")
	assert.Contains(t, text, `"a\x1b[31m\nb" (8, 4, 3, 3)`)
}
