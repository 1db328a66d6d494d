// SPDX-License-Identifier: Apache-2.0

package extremes

import (
	"bytes"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

var (
	outFile = flag.String("extremes.out", "", "file for the tables of TestExtremes")
	oneCase = flag.String("extremes.case", "", "name of a case to replay in TestReplay")
	parts   = flag.Int("extremes.parts", 8, "number of parts of the grid, each a mixture of all of it; 1 for the whole")
	part    = flag.Int("extremes.part", 0, "the part that TestExtremes takes, from 0, to share the grid among processes")
)

const progress = 20000 // cases

// A sample of the grid. Cases of the classes in known fail today and are counted;
// any other failure fails the test.
func TestSample(t *testing.T) {
	s, surprises, n := newSummary(), 0, 3000
	if testing.Short() {
		n = 600
	}
	for i := 0; s.cases < n; i++ {
		c, ok := at(i)
		if !ok {
			continue
		}
		v := judge(c, c.build())
		s.add(v)
		if len(v.Failures) > 0 && !known[v.class()] {
			if surprises++; surprises <= 10 {
				t.Errorf("%s\n\t%v\n\treplay: go test -run Replay ./internal/extremes -extremes.case '%s'", c, v.Failures, c)
			}
		}
	}
	t.Logf("%d cases: %d steps right, %d justified errors, %d cases of known failures, %d others", s.cases, s.steps, total(s.errors), s.failed-surprises, surprises)
	// The test would be worthless if the judge accepted nothing or the solvers refused everything.
	require.Greater(t, s.steps, s.cases)
}

// A part of the grid, or all of it.
func TestExtremes(t *testing.T) {
	if os.Getenv("KERNELFOLD_LONG") == "" {
		t.Skip("takes hours: set KERNELFOLD_LONG=1")
	}
	s, start := newSummary(), time.Now()
	first, last := gridSize()/(*parts)*(*part), gridSize()/(*parts)*(*part+1)
	for i := first; i < last; i++ {
		c, ok := at(i)
		if !ok {
			continue
		}
		v := judge(c, c.build())
		if s.add(v); len(v.Failures) > 0 && s.classes[v.class()].count == 1 {
			t.Errorf("%s\n\t%v", c, v.Failures)
		}
		if s.cases%progress == 0 {
			t.Logf("%3.0f %%, %d cases, %d failed, %v", 100*float64(i-first)/float64(last-first), s.cases, s.failed, time.Since(start).Round(time.Second))
			require.NoError(t, save(s))
		}
	}
	require.NoError(t, save(s))
	var b bytes.Buffer
	require.NoError(t, s.write(&b))
	t.Log("\n" + b.String())
}

// Layers that are divided among two cores in place.
func TestExtremesLarge(t *testing.T) {
	if os.Getenv("KERNELFOLD_LONG") == "" {
		t.Skip("takes minutes: set KERNELFOLD_LONG=1")
	}
	for _, solver := range []string{"SGD.tangent", "SGD.ambient", "Adam"} {
		for _, manifold := range []string{"Euclidean", "Sphere", "CentredSphere", "Oblique.rows", "Stiefel.cholesky", "Stiefel.polar"} {
			for _, p := range precisions {
				c, err := ParseCase(solver + "/" + manifold + "/PerSlice/Unit/1024x128x3x3/" + p.name + "/inplace/p2/w1e+00/generic/random1e+00/lr1e-01/s1")
				require.NoError(t, err)
				v := judge(c, c.build())
				for _, f := range v.Failures {
					t.Errorf("%s: %v", c, f)
				}
			}
		}
	}
}

func save(s *summary) error {
	if *outFile == "" {
		return nil
	}
	var b bytes.Buffer
	if err := s.write(&b); err != nil {
		return err
	}
	return os.WriteFile(*outFile, b.Bytes(), 0o644)
}

// Replays the case that -extremes.case names.
func TestReplay(t *testing.T) {
	if *oneCase == "" {
		t.Skip("no -extremes.case")
	}
	c, err := ParseCase(*oneCase)
	require.NoError(t, err)
	v := judge(c, c.build())
	t.Logf("%d steps right, justified errors %v, weights within %.3g eps r at conditioning %.3g, membership error %.3g eps",
		v.Steps, v.Errors, v.Weights, v.Kappa, v.Member)
	for _, f := range v.Failures {
		t.Error(f)
	}
}

// ParseCase inverts String.
func TestNames(t *testing.T) {
	n := 0
	for i := range 2000 {
		c, ok := at(i)
		if !ok {
			continue
		}
		n++
		d, err := ParseCase(c.String())
		require.NoError(t, err)
		require.Equal(t, c, d)
	}
	require.Greater(t, n, 500)
	for _, bad := range []string{"", "SGD", "a/b/c/d/e/f/g/h/i/j/k/l/m"} {
		_, err := ParseCase(bad)
		require.Error(t, err)
	}
}

// TangentMomentum is the default of NewSGD.
func TestDefaultMomentumIsTangent(t *testing.T) {
	c := ordinary("SGD.tangent", "Sphere")
	v := judge(c, solvers.NewSGD(solvers.LearnRate(rates[c.rate]), solvers.Momentum(theta),
		solvers.Param("kernel", manifolds.Sphere{}, manifolds.PerFilter, manifolds.Unit)))
	if ambientByDefault {
		require.NotEmpty(t, v.Failures)
		t.Skip("the default is ambient momentum: ", v.Failures)
	}
	require.Empty(t, v.Failures)
}

// All steps of cases without extreme numbers are right.
func TestOrdinaryCasesPass(t *testing.T) {
	for _, s := range solverKinds {
		for _, m := range manifoldKinds {
			c := ordinary(s.name, m.name)
			v := judge(c, c.build())
			if len(v.Failures) > 0 && known[v.class()] {
				continue
			}
			require.Empty(t, v.Failures, "%s", c)
			require.Equal(t, 3, v.Steps, "%s", c)
		}
	}
}

// ordinary is a case in which nothing is extreme.
func ordinary(solver, manifold string) Case {
	var c Case
	for _, grouping := range []string{"PerFilter", "PerSlice"} { // the second where points must be square
		var err error
		if c, err = ParseCase(solver + "/" + manifold + "/" + grouping + "/Unit/6x4x3x3/float64/inplace/p1/w1e+00/generic/random1e+00/lr1e-01/s1"); err != nil {
			panic(err)
		}
		if c.exists() {
			break
		}
	}
	return c
}
