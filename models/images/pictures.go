// SPDX-License-Identifier: Apache-2.0

package images

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
)

// Pictures is a set of pictures in files, which are read when they are needed, so that only their names take memory. It is train.Data
// for a net with images as its input: Folder makes it.
//
// The picture of an example is that of Preprocessing in evaluation, and varied by Transform in training. Changing the
// fields of a Pictures does not affect parts that were made from it before.
type Pictures struct {
	Preprocessing
	Transform Transform
	// Classes are names; a label is an index into it.
	Classes []string
	// Weights multiplies the target of each class in training, and with it the cross-entropy of its pictures: see ClassWeights. nil is 1 for
	// all.
	Weights []float32

	dir    string
	names  []string // below dir, with slashes
	labels []int
	broken *broken // nil if a broken picture is an error
}

// Len returns the number of pictures.
func (p *Pictures) Len() int { return len(p.names) }

// Name returns the name of picture i, its path below the folder, with slashes.
func (p *Pictures) Name(i int) string { return p.names[i] }

// Path returns the path of picture i.
func (p *Pictures) Path(i int) string { return filepath.Join(p.dir, filepath.FromSlash(p.names[i])) }

// Label returns the class of picture i.
func (p *Pictures) Label(i int) int { return p.labels[i] }

// Counts returns the number of pictures of each class.
func (p *Pictures) Counts() []int {
	counts := make([]int, len(p.Classes))
	for _, l := range p.labels {
		counts[l]++
	}
	return counts
}

// ClassWeights returns the inverse frequencies of the classes, N/(K n) for the class of n pictures of N in K classes, whose mean over the
// pictures is 1. A class without pictures has weight 0. Used as the field Weights, they make the mean cross-entropy that of classes of equal size.
func (p *Pictures) ClassWeights() []float32 {
	w := make([]float32, len(p.Classes))
	counts := p.Counts()
	there := len(counts)
	for _, n := range counts {
		if n == 0 {
			there--
		}
	}
	for c, n := range counts {
		if n > 0 {
			w[c] = float32(float64(p.Len()) / (float64(there) * float64(n)))
		}
	}
	return w
}

// broken holds the pictures that could not be read.
type broken struct {
	sync.Mutex
	errs map[string]error // by path
}

// maxSkips is the largest number of consecutive broken pictures.
const maxSkips = 100

// Example copies picture i to row[0] and, if there is a row[1], its label to that, as Split.Example does. With rng it is varied by
// Transform, and the target is multiplied by the weight of the class. The error of a picture is a *PictureError. If broken pictures are
// skipped, the next picture of the same class that can be read takes the place of a broken one.
func (p *Pictures) Example(i int, row []any, rng *rand.Rand) error {
	if len(row) < 1 || len(row) > 2 {
		return fmt.Errorf("images: %s: want a net of images and, at most, labels, got one of %d inputs and targets", p.dir, len(row))
	}
	// The fields may have changed since Folder checked them.
	pre, err := p.Preprocessing.withDefaults()
	if err != nil {
		return err
	}
	transform, err := p.Transform.withDefaults()
	if err != nil {
		return err
	}
	if p.Weights != nil && len(p.Weights) != len(p.Classes) {
		return fmt.Errorf("images: %s: want a weight for each of %d classes, got %d", p.dir, len(p.Classes), len(p.Weights))
	}
	var x []float32
	size := pre.Channels() * pre.Size * pre.Size
	switch r := row[0].(type) {
	case []float32:
		x = r
	case []float64:
		x = make([]float32, len(r))
	default:
		return fmt.Errorf("images: %s: want images of float32 or float64, got %T", p.dir, row[0])
	}
	if len(x) != size {
		return fmt.Errorf("images: %s: want a net for images of %d x %d x %d, %d numbers, got one for %d numbers", p.dir, pre.Channels(), pre.Size, pre.Size, size, len(x))
	}
	m, err := p.read(i)
	if err != nil {
		return err
	}
	defer m.free()
	if rng == nil {
		m.middle(pre.Resize, pre.Size, pre.Channels()).floats(x, pre)
	} else {
		transform.apply(x, m, pre, rng)
	}
	if r, ok := row[0].([]float64); ok {
		for k, v := range x {
			r[k] = float64(v)
		}
	}
	if len(row) == 1 {
		return nil
	}
	weight := float32(1)
	if rng != nil && p.Weights != nil {
		weight = p.Weights[p.labels[i]]
	}
	return setLabel(row[1], p.dir, i, p.labels[i], weight)
}

// read reads picture i, or one in its place.
func (p *Pictures) read(i int) (*decoded, error) {
	var first error
	skips := 0
	for step := range p.Len() {
		k := (i + step) % p.Len()
		if p.labels[k] != p.labels[i] {
			continue
		}
		m, err := readPicture(p.Path(k))
		if err == nil || p.broken == nil {
			return m, err
		}
		p.broken.add(p.Path(k), err)
		if first == nil {
			first = err
		}
		if skips++; skips == maxSkips {
			break
		}
	}
	return nil, first
}

func (b *broken) add(path string, err error) {
	b.Lock()
	defer b.Unlock()
	b.errs[path] = err
}

// Skipped returns the errors of the pictures that were skipped until now, each once, in the order of their paths. Parts
// made from one Pictures share this list.
func (p *Pictures) Skipped() []error {
	if p.broken == nil {
		return nil
	}
	p.broken.Lock()
	defer p.broken.Unlock()
	var errs []error
	for _, path := range slices.Sorted(maps.Keys(p.broken.errs)) {
		errs = append(errs, p.broken.errs[path])
	}
	return errs
}

// part returns the pictures of the given numbers.
func (p *Pictures) part(of []int) *Pictures {
	q := *p
	q.names, q.labels = make([]string, len(of)), make([]int, len(of))
	for k, i := range of {
		q.names[k], q.labels[k] = p.names[i], p.labels[i]
	}
	return &q
}

// Holdout takes n pictures out of p, the same share of each class to within one picture, and returns what is left and what
// was taken, in the order of p. Which pictures they are depends on the seed alone.
func (p *Pictures) Holdout(n int, seed uint64) (rest, held *Pictures, err error) {
	if n < 0 || n >= p.Len() {
		return nil, nil, fmt.Errorf("images: %s: want to hold out fewer than the %d pictures, and 0 at least, got %d", p.dir, p.Len(), n)
	}
	var left, out []int
	for i, t := range stratified(p.labels, n, seed) {
		if t {
			out = append(out, i)
		} else {
			left = append(left, i)
		}
	}
	return p.part(left), p.part(out), nil
}

// Split returns parts of the given shares of the pictures, which sum to at most 1, each with the same share of each class to within one
// picture, and no picture in two of them. Which pictures they are depends on the seed alone.
func (p *Pictures) Split(seed uint64, shares ...float64) ([]*Pictures, error) {
	sum := 0.0
	for _, s := range shares {
		if !(s > 0) {
			return nil, fmt.Errorf("images: %s: want shares above 0, got %v", p.dir, shares)
		}
		sum += s
	}
	const rounding = 1e-9 // for example of thirds
	if sum > 1+rounding {
		return nil, fmt.Errorf("images: %s: want shares that sum to at most 1, got %v", p.dir, shares)
	}
	var parts []*Pictures
	rest, done := p, 0.0
	for k, s := range shares {
		from := int(done*float64(p.Len()) + 0.5)
		done += s
		n := min(rest.Len(), int(done*float64(p.Len())+0.5)-from)
		if n == 0 {
			return nil, fmt.Errorf("images: %s: want shares of at least one picture, got %v of %d", p.dir, s, p.Len())
		}
		if n == rest.Len() {
			whole := *rest // rest may be p itself
			parts, rest = append(parts, &whole), rest.part(nil)
			continue
		}
		var part *Pictures
		var err error
		if rest, part, err = rest.Holdout(n, seed+uint64(k)); err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// Only returns the pictures of some classes, whose labels are their places in the list.
func (p *Pictures) Only(classes ...string) (*Pictures, error) {
	labels := map[int]int{}
	for k, c := range classes {
		l := slices.Index(p.Classes, c)
		if l < 0 {
			return nil, fmt.Errorf("images: %s: want classes that are there, got %q", p.dir, c)
		}
		if _, twice := labels[l]; twice {
			return nil, fmt.Errorf("images: %s: want each class once, got %q twice", p.dir, c)
		}
		labels[l] = k
	}
	var of []int
	for i, l := range p.labels {
		if _, ok := labels[l]; ok {
			of = append(of, i)
		}
	}
	q := p.part(of)
	q.Classes, q.Weights = slices.Clone(classes), nil
	for i, l := range q.labels {
		q.labels[i] = labels[l]
	}
	return q, nil
}
