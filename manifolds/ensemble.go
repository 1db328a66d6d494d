// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/kernelfold/kernelfold/internal/isnil"
)

// Ensemble deals the slices of a layer to several manifolds, its parts: some slices lie on spheres,
// others on the Stiefel manifold, and so on.
//
//	manifolds.Ensemble{
//		Strategy: manifolds.PIO,
//		Parts:    manifolds.Equal(manifolds.Sphere{}, manifolds.Oblique{}, manifolds.Stiefel{}),
//		Seed:     1,
//	}
//
// The slices of each part are cut into Groups groups, of sizes that differ by at most one. A group
// is a product of weight manifolds: a point of the product of the manifolds of its slices, with the
// sum of their metrics. The geometric step factor of package solvers can be that of a group.
//
// The part and the group of each slice are drawn once, without replacement, from the seed and the name of the layer.
// They do not change while the net trains. The scale of a constraint applies to each part as if the
// whole layer were on its manifold, so that filters have the wanted norm on average, however the slices are dealt.
//
// Ozay, Okatani, Optimization on product submanifolds of convolution kernels, arXiv 1701.06123; Ozay,
// Fine-grained optimization of deep neural networks, NeurIPS 2019.
//
// An Ensemble is a Composite: solvers put layers on it. It has no points of its own, so the methods of
// Manifold return an error.
type Ensemble struct {
	// Strategy says which slices are dealt together.
	Strategy Strategy
	// Parts are the manifolds and their shares of the layer.
	Parts []Part
	// Groups is the number of groups of each part. Zero means 1.
	Groups int
	// Seed determines how the slices are dealt.
	Seed uint64
}

// Part is a manifold of an Ensemble. Euclidean leaves its slices free.
type Part struct {
	Manifold Manifold
	// Share is positive. A part gets its share over the sum of all shares.
	Share float64
}

// Equal returns parts of equal shares.
func Equal(m ...Manifold) []Part {
	parts := make([]Part, len(m))
	for i, m := range m {
		parts[i] = Part{m, 1}
	}
	return parts
}

// Strategy says which slices w[d,c] of a layer an Ensemble deals together.
type Strategy uint8

const (
	// PIO deals every slice by itself.
	PIO Strategy = iota
	// PI deals input channels: all slices w[.,c] go with c.
	PI
	// PO deals output channels: all slices w[d,.] go with d.
	PO
)

// String returns the name of the strategy in the papers.
func (s Strategy) String() string {
	switch s {
	case PIO:
		return "PIO"
	case PI:
		return "PI"
	case PO:
		return "PO"
	}
	return fmt.Sprintf("Strategy(%d)", uint8(s))
}

// String returns the strategy and the parts, and the shares unless they are equal: PIO(Sphere + 2 Stiefel).
func (e Ensemble) String() string {
	parts := make([]string, len(e.Parts))
	for i, p := range e.Parts {
		parts[i] = Name(p.Manifold)
		if p.Share != e.Parts[0].Share {
			parts[i] = fmt.Sprintf("%.4g %s", p.Share/e.Parts[0].Share, parts[i])
		}
	}
	s := fmt.Sprintf("%v(%s", e.Strategy, strings.Join(parts, " + "))
	if e.Groups > 1 {
		s += fmt.Sprintf(", %d groups each", e.Groups)
	}
	return s + ")"
}

// For returns e, and PerSlice in place of Default.
func (e Ensemble) For(g Grouping) (Manifold, Grouping) { return e, g.or(PerSlice) }

// Check returns an error unless every part admits n x p slices and the fields of e are valid.
func (e Ensemble) Check(n, p int) error {
	if err := e.valid(); err != nil {
		return fmt.Errorf("manifolds: Ensemble: %w", err)
	}
	for _, part := range e.Parts {
		if err := part.Manifold.Check(n, p); err != nil {
			return err
		}
	}
	return nil
}

func (e Ensemble) valid() error {
	fail := func(want string, args ...any) error {
		return fmt.Errorf("want "+want, args...)
	}
	if e.Strategy > PO {
		return fail("PIO, PI or PO, got %v", e.Strategy)
	}
	if len(e.Parts) == 0 {
		return fail("at least one part, got none")
	}
	if e.Groups < 0 {
		return fail("a positive number of groups, or 0 for 1, got %d", e.Groups)
	}
	sum := 0.0
	for i, p := range e.Parts {
		if isnil.Of(p.Manifold) {
			return fail("a manifold in every part, got nil in part %d", i)
		}
		if _, ok := p.Manifold.(Composite); ok {
			return fail("parts of one manifold each, got %s", Name(p.Manifold))
		}
		if !(p.Share > 0) {
			return fail("a positive share of %s, got %g", Name(p.Manifold), p.Share)
		}
		sum += p.Share
	}
	if math.IsInf(sum, 0) {
		return fail("shares with a finite sum, got %g", sum)
	}
	return nil
}

// Pieces deals the slices of a layer.
func (e Ensemble) Pieces(shape []int, c Constraint, norm float64) ([]Piece, error) {
	if err := e.valid(); err != nil {
		return nil, err
	}
	if c.Grouping.kind() != PerSlice {
		return nil, fmt.Errorf("want the grouping %v, got %v", PerSlice, c.Grouping)
	}
	if len(shape) != 4 {
		return nil, fmt.Errorf("want weights of shape (out, in, height, width), got %v", shape)
	}
	if _, err := c.Grouping.Layout(shape); err != nil {
		return nil, err
	}
	dealt, err := e.deal(shape, c.Grouping, c.Layer)
	if err != nil {
		return nil, err
	}
	var pieces []Piece
	names := map[string]int{}
	for i, part := range e.Parts {
		scale := c.Scale
		if _, ok := part.Manifold.(Scalable); !ok {
			scale = Unit
		}
		piece, err := Single(On(part.Manifold, c.Grouping, scale).Bind(shape, norm))
		if err != nil {
			return nil, err
		}
		order, size := slices.Concat(dealt[i]...), 1
		if _, free := part.Manifold.(Euclidean); free { // a point is a weight
			size = shape[2] * shape[3]
			if piece.Layout, err = PerWeight.Layout(shape); err != nil {
				return nil, err
			}
			order = weightsOf(order, size)
		}
		if !isWhole(order, piece.Layout.K) {
			if piece.Layout, err = piece.Layout.Pick(order...); err != nil {
				return nil, err
			}
		}
		for _, group := range dealt[i] {
			piece.Groups = append(piece.Groups, len(group)*size)
		}
		if len(e.Parts) > 1 {
			piece.Name = strings.ToLower(Name(part.Manifold))
			if names[piece.Name]++; names[piece.Name] > 1 {
				piece.Name = fmt.Sprintf("%s, %d", piece.Name, names[piece.Name])
			}
		}
		pieces = append(pieces, piece)
	}
	return pieces, nil
}

// weightsOf returns the numbers of the weights of slices of the given size.
func weightsOf(slices []int32, size int) []int32 {
	var order []int32
	for _, s := range slices {
		for w := range size {
			order = append(order, s*int32(size)+int32(w))
		}
	}
	return order
}

// isWhole reports whether order is 0, 1, ..., k-1.
func isWhole(order []int32, k int) bool {
	for i, o := range order {
		if int(o) != i {
			return false
		}
	}
	return len(order) == k
}

// deal returns, for each part and each of its groups, the numbers of the slices of a layer, in ascending order.
func (e Ensemble) deal(shape []int, g Grouping, layer string) ([][][]int32, error) {
	t := table{rows: shape[0], cols: shape[1], groups: g.groups()}
	cards, of := t.rows*t.cols, "slices"
	byRows := e.Strategy == PO != g.isTransposed()
	switch {
	case e.Strategy == PIO:
	case byRows:
		cards = t.rows
	default:
		cards = t.cols * t.groups
	}
	switch e.Strategy {
	case PI:
		of = "input channels"
	case PO:
		of = "output channels"
	}
	counts := e.counts(cards)
	deck := shuffled(cards, e.Seed, layer)
	groups := max(1, e.Groups)
	dealt := make([][][]int32, len(e.Parts))
	for i, count := range counts {
		if count < groups {
			return nil, fmt.Errorf("want at least one of the %d %s for each of the %d groups of %s, got %d", cards, of, groups, Name(e.Parts[i].Manifold), count)
		}
		hand := deck[:count]
		deck = deck[count:]
		for g := range groups {
			size := count / groups
			if g < count%groups {
				size++
			}
			dealt[i] = append(dealt[i], t.slicesOf(hand[:size], e.Strategy != PIO, byRows))
			hand = hand[size:]
		}
	}
	return dealt, nil
}

// counts divides a number of cards, the slices, rows or columns that are dealt, in proportion to the shares
// of the parts. The cards that are left after rounding down go to the parts with the largest remainders.
func (e Ensemble) counts(cards int) []int {
	sum := 0.0
	for _, p := range e.Parts {
		sum += p.Share
	}
	counts, rest, left := make([]int, len(e.Parts)), make([]float64, len(e.Parts)), cards
	for i, p := range e.Parts {
		quota := p.Share / sum * float64(cards)
		counts[i] = min(int(quota), left)
		rest[i] = quota - float64(counts[i])
		left -= counts[i]
	}
	for ; left > 0; left-- {
		most := 0
		for i, r := range rest {
			if r > rest[most] {
				most = i
			}
		}
		counts[most]++
		rest[most]--
	}
	return counts
}

// table is the arrangement of the slices of a layer in memory. A row holds the slices of a filter and a column of a group
// those of an input channel; in transposed convolutions it is the other way around.
type table struct{ rows, cols, groups int }

// slicesOf returns the slices of cards: single ones, whole rows or columns of a group.
func (t table) slicesOf(cards []int, whole, byRows bool) (numbers []int32) {
	for _, card := range cards {
		switch {
		case !whole:
			numbers = append(numbers, int32(card))
		case byRows:
			for col := range t.cols {
				numbers = append(numbers, int32(card*t.cols+col))
			}
		default:
			group, col, rows := card/t.cols, card%t.cols, t.rows/t.groups
			for row := group * rows; row < (group+1)*rows; row++ {
				numbers = append(numbers, int32(row*t.cols+col))
			}
		}
	}
	slices.Sort(numbers)
	return numbers
}

// shuffled returns 0..n-1 in an order drawn by the seed and the name (Fisher, Yates 1938).
func shuffled(n int, seed uint64, name string) []int {
	h := fnv.New64a()
	h.Write([]byte(name))
	rng := rand.New(rand.NewPCG(seed, h.Sum64()))
	deck := make([]int, n)
	for i := range deck {
		deck[i] = i
	}
	for i := n - 1; i > 0; i-- {
		j := rng.IntN(i + 1)
		deck[i], deck[j] = deck[j], deck[i]
	}
	return deck
}

var errNoPoints = errors.New("manifolds: Ensemble: want a layer, by Constraint.Bind: an ensemble has no points of its own")

// Project returns an error: an ensemble has no points of its own.
func (Ensemble) Project(Points, Points) error { return errNoPoints }

// Tangent returns an error: an ensemble has no points of its own.
func (Ensemble) Tangent(Points, Points, Points) error { return errNoPoints }

// Retract returns an error: an ensemble has no points of its own.
func (Ensemble) Retract(Points, Points, Points) error { return errNoPoints }

// Transport returns an error: an ensemble has no points of its own.
func (Ensemble) Transport(Points, Points, Points, Points) error { return errNoPoints }

// Membership returns NaN: an ensemble has no points of its own.
func (Ensemble) Membership(Points) float64 { return math.NaN() }

var (
	_ Composite = Ensemble{}
	_ Manifold  = Ensemble{}
	_ Grouper   = Ensemble{}
)
