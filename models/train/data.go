// SPDX-License-Identifier: Apache-2.0

package train

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/isnil"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
)

// Data is the set of examples that a net is trained or evaluated on, such as images.Split, Tensors, or a type of your own.
type Data interface {
	// Len returns the number of examples.
	Len() int
	// Example copies example i, 0..Len()-1, to row, which has a slice for each input and then each target of the
	// net: of the element type of the node, for example []float32, and of as many elements as an
	// example has. An example of training may be varied by numbers from rng; in evaluation rng is
	// nil. Example is called from several goroutines at once.
	Example(i int, row []any, rng *rand.Rand) error
}

var (
	_ Data = images.Split{}
	_ Data = (*images.Pictures)(nil)
	_ Data = Tensors{}
)

// Tensors is Data in memory: a tensor for each input and then each target of a net, whose first size
// is the number of examples.
type Tensors []*tensor.Dense

// Len returns the number of examples.
func (t Tensors) Len() int {
	if len(t) == 0 || t[0] == nil || t[0].Dims() == 0 {
		return 0
	}
	return t[0].Shape()[0]
}

// Example copies example i to row.
func (t Tensors) Example(i int, row []any, _ *rand.Rand) error {
	if len(row) != len(t) {
		return fmt.Errorf("want %d tensors, one for each input and target, got %d", len(row), len(t))
	}
	for k, v := range t {
		from, err := dense.RowsOf(v)
		if err != nil {
			return fmt.Errorf("tensor %d: %w", k, err)
		}
		if from.Len != t.Len() {
			return fmt.Errorf("tensor %d: want %d examples as in the first, got %d", k, t.Len(), from.Len)
		}
		if err := from.CopyRow(row[k], i); err != nil {
			return fmt.Errorf("tensor %d: %w", k, err)
		}
	}
	return nil
}

// isEmpty reports whether there are no examples.
func isEmpty(d Data) bool { return isnil.Of(d) || d.Len() < 1 }

// augmented holds images that are varied in training.
type augmented struct {
	images.Split
	by    images.Augmentation
	shape [3]int
}

// augment returns data varied by a, which must be images unless a is the zero value.
func augment(d Data, a images.Augmentation, shape [3]int) (Data, error) {
	if a == (images.Augmentation{}) {
		return d, nil
	}
	s, ok := d.(images.Split)
	if !ok {
		return nil, fmt.Errorf("train: want images.Split as data to augment, got %T", d)
	}
	if err := a.Check(shape); err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	return augmented{s, a, shape}, nil
}

func (d augmented) Example(i int, row []any, rng *rand.Rand) error {
	if err := d.Split.Example(i, row, rng); err != nil || rng == nil {
		return err
	}
	size := d.shape[0] * d.shape[1] * d.shape[2]
	image := d.Images[i*size : (i+1)*size]
	switch x := row[0].(type) {
	case []float32:
		d.by.Apply(x, image, d.shape, rng)
	case []float64:
		varied := make([]float32, size)
		d.by.Apply(varied, image, d.shape, rng)
		for k, v := range varied {
			x[k] = float64(v)
		}
	}
	return nil
}

// imagesOf returns the shape of the images of a net, or zeros if its first input is not of rank 4.
func imagesOf(n *models.Net) (shape [3]int) {
	if len(n.Inputs) > 0 && n.Inputs[0].Dims() == 4 {
		copy(shape[:], n.Inputs[0].Shape()[1:])
	}
	return shape
}

// batch is memory for the examples of a step.
type batch struct {
	values []*tensor.Dense // for each input and target of the net
	rows   [][]any         // of each example
	err    error           // why the examples could not be copied
}

func newBatch(n *models.Net, examples int) (*batch, error) {
	b := &batch{rows: make([][]any, examples)}
	for _, x := range slices.Concat(n.Inputs, n.Targets) {
		shape := x.Shape().Clone()
		shape[0] = examples
		v := tensor.New(tensor.Of(x.Dtype()), tensor.WithShape(shape...))
		r, err := dense.RowsOf(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", x.Name(), err)
		}
		b.values = append(b.values, v)
		for i := range b.rows {
			b.rows[i] = append(b.rows[i], r.Row(i))
		}
	}
	return b, nil
}

// fill copies examples of the data to the rows of b, several at a time, since an example may be a picture to decode. The error in b is
// that of the first row that has one.
func (b *batch) fill(d Data, examples []int, draw draw) {
	errs := make([]error, len(examples))
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(examples)) {
		all.Go(func() {
			var pcg rand.PCG
			var rng *rand.Rand
			if draw != nil {
				rng = rand.New(&pcg)
			}
			for {
				row := int(next.Add(1)) - 1
				if row >= len(examples) {
					return
				}
				i := examples[row]
				if draw != nil {
					draw(&pcg, i)
				}
				if err := example(d, i, b.rows[row], rng); err != nil {
					errs[row] = fmt.Errorf("example %d: %w", i, err)
				}
			}
		})
	}
	all.Wait()
	b.err = nil
	for _, err := range errs {
		b.err = cmp.Or(b.err, err)
	}
}

// example copies an example to a row. A panic, which here would end the program, is an error.
func example(d Data, i int, row []any, rng *rand.Rand) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%T panicked: %v", d, r)
		}
	}()
	return d.Example(i, row, rng)
}

// probe returns an error if the first example does not fit the net.
func probe(n *models.Net, d Data) error {
	if isEmpty(d) {
		return nil
	}
	b, err := newBatch(n, 1)
	if err != nil {
		return err
	}
	return example(d, 0, b.rows[0], nil)
}

// named returns an error that begins with the name of the package.
func named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("train: %w", err)
}
