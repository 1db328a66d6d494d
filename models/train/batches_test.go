// SPDX-License-Identifier: Apache-2.0

package train

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
)

// numbered has images of 2x2 pixels, all of the number of the image.
func numbered(n int) images.Split {
	var s images.Split
	for i := range n {
		v := float32(i + 1)
		s.Images = append(s.Images, v, v, v, v)
		s.Labels = append(s.Labels, i)
	}
	return s
}

// feedOf is the feed of a net of images of 2x2 pixels, and labels that are numbers.
func feedOf(t *testing.T, p plan, data Data, first, step, last int) *feed {
	g := gorgonia.NewGraph()
	n := &models.Net{
		Inputs:  gorgonia.Nodes{gorgonia.NewTensor(g, tensor.Float32, 4, gorgonia.WithName("x"), gorgonia.WithShape(p.Batch, 1, 2, 2))},
		Targets: gorgonia.Nodes{gorgonia.NewVector(g, tensor.Int, gorgonia.WithName("label"), gorgonia.WithShape(p.Batch))},
	}
	of := p.part(ranksOf(nil))
	f, err := startFeed(n, of.examples, (last-first+1)*p.steps()-step, data, newGatherer(p, of, data).epochs(first, step, last))
	require.NoError(t, err)
	return f
}

// collect takes all batches.
func collect(t *testing.T, p plan, data images.Split, first, step, last int) (all []string) {
	d, err := augment(data, p.Augment, p.Shape)
	require.NoError(t, err)
	f := feedOf(t, p, d, first, step, last)
	defer f.close()
	for range (last-first+1)*p.steps() - step {
		b := <-f.ready
		all = append(all, fmt.Sprint(b.rows))
		f.empty <- b
	}
	return all
}

// What comes does not depend on where a run begins, nor on the cores.
func TestFeed(t *testing.T) {
	data := numbered(23)
	p := plan{Seed: 5, Images: 23, Batch: 4, Shape: [3]int{1, 2, 2}, Augment: images.Augmentation{Pad: 1, Flip: true}}
	whole := collect(t, p, data, 1, 0, 3)
	assert.Len(t, whole, 15)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for at := range whole {
		assert.Equal(t, whole[at:], collect(t, p, data, at/5+1, at%5, 3), "from step %d", at)
	}
	p.Seed++
	assert.NotEqual(t, whole, collect(t, p, data, 1, 0, 3))
}

// An epoch has every image once at most, with its label, and epochs differ.
func TestFeedShuffles(t *testing.T) {
	data := numbered(40)
	p := plan{Seed: 1, Images: 40, Batch: 8, Shape: [3]int{1, 2, 2}}
	orders := map[string]bool{}
	f := feedOf(t, p, data, 1, 0, 6)
	defer f.close()
	for range 6 {
		order := ""
		seen := map[int]bool{}
		for range 5 {
			b := <-f.ready
			require.NoError(t, b.err)
			for _, row := range b.rows {
				l := row[1].([]int)[0]
				seen[l] = true
				for _, v := range row[0].([]float32) {
					assert.Equal(t, float32(l+1), v)
				}
			}
			order += fmt.Sprint(b.values[1].Data())
			f.empty <- b
		}
		assert.Len(t, seen, 40)
		orders[order] = true
	}
	assert.Len(t, orders, 6)
}

// A feed ends when it is told to, however many batches are under way.
func TestFeedCloses(t *testing.T) {
	p := plan{Images: 40, Batch: 4, Shape: [3]int{1, 2, 2}}
	for kept := range ahead + 2 {
		f := feedOf(t, p, numbered(40), 1, 0, 1000)
		for range 7 {
			f.empty <- <-f.ready
		}
		for range kept {
			<-f.ready
		}
		f.close()
	}
}

// A feed has no memory for more batches than there are.
func TestFeedOfOneBatch(t *testing.T) {
	f := feedOf(t, plan{Images: 4, Batch: 4, Shape: [3]int{1, 2, 2}}, numbered(4), 1, 0, 1)
	defer f.close()
	b := <-f.ready
	assert.NoError(t, b.err)
	assert.Empty(t, f.empty)
}

// pairs is data whose examples are only there two at a time.
type pairs struct {
	images.Split
	met chan struct{}
}

func (p pairs) Example(i int, row []any, rng *rand.Rand) error {
	select {
	case p.met <- struct{}{}:
	case <-p.met:
	case <-time.After(10 * time.Second):
		return errors.New("want another example at the same time, got none")
	}
	return p.Split.Example(i, row, rng)
}

// Examples of a batch are copied at the same time.
func TestExamplesAtOnce(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	p := plan{Seed: 1, Images: 4, Batch: 4, Shape: [3]int{1, 2, 2}}
	f := feedOf(t, p, pairs{numbered(4), make(chan struct{})}, 1, 0, 1)
	defer f.close()
	b := <-f.ready
	assert.NoError(t, b.err)
	_, more := <-f.ready
	assert.False(t, more, "batches after the last epoch")
}
