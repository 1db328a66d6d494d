// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kernelfold/kernelfold/internal/isnil"
)

// Piece is a batch of points of a layer and the manifold, at its final scale, that they lie on.
// On an ordinary manifold a layer is one piece that holds all points.
type Piece struct {
	Manifold Manifold
	Layout   Layout
	Name     string // empty if the layer is one piece
	// Groups are the numbers of points in each group. A group is a point of a product manifold; its points
	// follow those of the previous group. Nil means one group.
	Groups []int
}

// Composite is implemented by a manifold that puts different points of a layer on different
// manifolds, its factors: for example half of the filters on a sphere and the other half free.
type Composite interface {
	// Pieces returns the pieces of a layer of the given shape and Frobenius norm. c is the
	// constraint being bound, and c.Manifold is the receiver. Every weight must belong to
	// exactly one piece and the names of the pieces must differ; otherwise Constraint.Bind
	// returns an error.
	//
	// To make a piece, bind a factor f to the whole layer and choose its points with
	// Layout.Pick:
	//
	//	piece, err := Single(Constraint{Manifold: f, Grouping: c.Grouping, Scale: c.Scale}.Bind(shape, norm))
	//	piece.Layout, err = piece.Layout.Pick(order...)
	Pieces(shape []int, c Constraint, norm float64) ([]Piece, error)
}

// Single returns the only piece of a layer, for code that works on one piece:
//
//	piece, err := manifolds.Single(c.Bind(shape, norm))
//
// It fails if Bind failed, or if there are several pieces.
func Single(pieces []Piece, err error) (Piece, error) {
	if err != nil {
		return Piece{}, err
	}
	if len(pieces) != 1 {
		names := make([]string, len(pieces))
		for i, p := range pieces {
			names[i] = p.Name
		}
		return Piece{}, fmt.Errorf("manifolds: want a layer of one piece, got %d: %s", len(pieces), strings.Join(names, ", "))
	}
	return pieces[0], nil
}

// cover returns an error unless every weight of a layer of the given shape belongs to exactly one
// piece and the names of the pieces differ.
func cover(pieces []Piece, shape []int) error {
	size := 1
	for _, s := range shape {
		if s < 1 {
			return fmt.Errorf("want positive sizes, got shape %v", shape)
		}
		size *= s
	}
	if len(pieces) == 0 {
		return fmt.Errorf("want a piece, got none")
	}
	of, names := make([]int, size), map[string]bool{} // of[e] is 1 + the index of weight e's piece
	for i, p := range pieces {
		called := fmt.Sprintf("piece %d, %q", i, p.Name)
		if len(pieces) > 1 && (p.Name == "" || names[p.Name]) {
			return fmt.Errorf("%s: want a name that no other piece has", called)
		}
		names[p.Name] = true
		l := p.Layout
		together := 0
		for _, n := range p.Groups {
			together += max(n, 0)
		}
		if p.Groups != nil && (together != l.K || slices.Min(p.Groups) < 1) {
			return fmt.Errorf("%s: want groups that hold its %d points, got groups of %v", called, l.K, p.Groups)
		}
		if isnil.Of(p.Manifold) {
			return fmt.Errorf("%s: want a manifold, got nil", called)
		}
		if err := p.Manifold.Check(l.N, l.P); err != nil {
			return fmt.Errorf("%s: %w", called, err)
		}
		l.lowest, l.highest = 0, 0 // look at each
		if first, last, ok := l.span(); !ok || first < 0 || last >= size {
			return fmt.Errorf("%s: want points in the %d weights of the layer, got the layout %+v", called, size, l)
		}
		run, _ := l.runs()
		for k := range l.K {
			for row := range l.N {
				for j := range l.P {
					e := l.at(k) + row*l.StrideN + j/run*l.StrideRun + j%run*l.StrideP
					if of[e] != 0 {
						return fmt.Errorf("%s: want every weight in one piece, got weight %d in piece %d as well", called, e, of[e]-1)
					}
					of[e] = 1 + i
				}
			}
		}
	}
	for e, i := range of {
		if i == 0 {
			return fmt.Errorf("want every weight in a piece, got weight %d in none", e)
		}
	}
	return nil
}
