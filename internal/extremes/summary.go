// SPDX-License-Identifier: Apache-2.0

package extremes

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// class returns the kind of a failure: the fault, the manifold and the precision.
func (v *Verdict) class() string {
	return fmt.Sprintf("%s | %s | %s", v.Failures[0].Fault, manifoldKinds[v.Case.manifold].name, precisions[v.Case.precision].name)
}

// summary counts verdicts.
type summary struct {
	cases, steps int
	failed       int
	parts        [2]int // parts compared with the oracle, and parts too ill-conditioned for that
	errors       map[string]int
	classes      map[string]*class
	worst        map[[2]string]*Verdict // by solver and manifold: the largest error of the weights
	member       map[[2]string]float64  // by manifold and precision
}

type class struct {
	count   int
	solvers map[string]int
	example *Verdict
}

func newSummary() *summary {
	return &summary{errors: map[string]int{}, classes: map[string]*class{}, worst: map[[2]string]*Verdict{}, member: map[[2]string]float64{}}
}

func (s *summary) add(v *Verdict) {
	s.cases++
	s.steps += v.Steps
	for _, e := range v.Errors {
		s.errors[e]++
	}
	s.parts[0] += v.Determined
	s.parts[1] += v.Undetermined
	solver, manifold, p := solverKinds[v.Case.solver].name, manifoldKinds[v.Case.manifold].name, precisions[v.Case.precision].name
	if len(v.Failures) > 0 {
		s.failed++
		c := s.classes[v.class()]
		if c == nil {
			c = &class{solvers: map[string]int{}, example: v}
			s.classes[v.class()] = c
		}
		c.count++
		c.solvers[solver]++
		return
	}
	if w := s.worst[[2]string{solver, manifold}]; w == nil || v.Weights > w.Weights {
		s.worst[[2]string{solver, manifold}] = v
	}
	k := [2]string{manifold, p}
	s.member[k] = max(s.member[k], v.Member)
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// write writes the tables as Markdown.
func (s *summary) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d cases of three steps: %d steps right, %d ended in a justified error, %d cases failed.\n",
		s.cases, s.steps, total(s.errors), s.failed)
	fmt.Fprintf(&b, "%.1f %% of the points of right steps are determined by their inputs and agree with the oracle; the others are on the manifold and have moved.\n",
		100*float64(s.parts[0])/float64(max(1, s.parts[0]+s.parts[1])))
	fmt.Fprintf(&b, "\n| justified error | steps |\n|---|---:|\n")
	for _, e := range sorted(s.errors) {
		fmt.Fprintf(&b, "| %s | %d |\n", e, s.errors[e])
	}
	fmt.Fprintf(&b, "\nLargest error of the weights, in eps r times the conditioning of the step and of\nthe projection before it:\n\n| |")
	for _, k := range solverKinds {
		fmt.Fprintf(&b, " %s |", k.name)
	}
	fmt.Fprintf(&b, "\n|---|%s\n", strings.Repeat("---:|", len(solverKinds)))
	for _, m := range manifoldKinds {
		fmt.Fprintf(&b, "| %s |", m.name)
		for _, k := range solverKinds {
			if v := s.worst[[2]string{k.name, m.name}]; v != nil {
				fmt.Fprintf(&b, " %.3g |", v.Weights)
			} else {
				fmt.Fprint(&b, " |")
			}
		}
		fmt.Fprintln(&b)
	}
	fmt.Fprintf(&b, "\nLargest membership error, in eps:\n\n| | float32 | float64 |\n|---|---:|---:|\n")
	for _, m := range manifoldKinds[1:] {
		fmt.Fprintf(&b, "| %s | %.3g | %.3g |\n", m.name, s.member[[2]string{m.name, "float32"}], s.member[[2]string{m.name, "float64"}])
	}
	if s.failed > 0 {
		fmt.Fprintf(&b, "\n| failures | cases | example |\n|---|---:|---|\n")
		for _, k := range sorted(s.classes) {
			c := s.classes[k]
			names := sorted(c.solvers)
			slices.SortStableFunc(names, func(x, y string) int { return cmp.Compare(c.solvers[y], c.solvers[x]) })
			fmt.Fprintf(&b, "| %s (%s) | %d | `%s`: %s |\n", strings.ReplaceAll(k, " | ", ", "), strings.Join(names, ", "), c.count, c.example.Case,
				strings.ReplaceAll(c.example.Failures[0].String(), "|", "\\|"))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func total(m map[string]int) (n int) {
	for _, v := range m {
		n += v
	}
	return n
}
