// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strconv"
	"strings"

	"github.com/kernelfold/kernelfold/manifolds"
)

// EnsembleSyntax is how an ensemble is named on a command line.
const EnsembleSyntax = "pio:sphere+oblique+stiefel (or pi:, po:; sphere*2 for twice the share)"

// Ensemble reads the name of an ensemble: a strategy, pio, pi or po, and the parts, of Manifolds. It returns false if
// the name is not that of an ensemble.
func Ensemble(name string, seed uint64) (e manifolds.Ensemble, is bool, err error) {
	strategy, list, is := strings.Cut(name, ":")
	if !is {
		return e, false, nil
	}
	e.Seed = seed
	switch strategy {
	case "pio":
		e.Strategy = manifolds.PIO
	case "pi":
		e.Strategy = manifolds.PI
	case "po":
		e.Strategy = manifolds.PO
	default:
		return e, true, Usage("want an ensemble such as %s, got %q", EnsembleSyntax, name)
	}
	for _, part := range strings.Split(list, "+") {
		of, times, weighted := strings.Cut(part, "*")
		m, unknown := Find("", of, Manifolds)
		share := 1.0
		if weighted {
			if share, err = strconv.ParseFloat(times, 64); err != nil || !(share > 0) {
				return e, true, Usage("want an ensemble such as %s, got the share %q in %q", EnsembleSyntax, times, name)
			}
		}
		if unknown != nil {
			return e, true, Usage("want an ensemble such as %s, got the part %q in %q", EnsembleSyntax, of, name)
		}
		e.Parts = append(e.Parts, manifolds.Part{Manifold: m, Share: share})
	}
	return e, true, nil
}
