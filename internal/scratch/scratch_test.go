// SPDX-License-Identifier: Apache-2.0

package scratch

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLoansDoNotOverlap(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 200 {
				a, b := Get[float32](1+i%17), Get[float32](1+i%5)
				for j := range a {
					a[j] = float32(g)
				}
				for j := range b {
					b[j] = -1
				}
				for _, v := range a {
					if v != float32(g) {
						t.Errorf("want %d, got %v: a buffer was lent twice", g, v)
						return
					}
				}
				Put(a)
				Put(b)
			}
		}()
	}
	wg.Wait()
}

func TestNoAllocationAfterWarmUp(t *testing.T) {
	round := func() {
		a, b, c := Get[float64](100), Get[float64](10), Get[float64](1000)
		Put(b)
		Put(c)
		Put(a)
	}
	round()
	round()
	assert.Zero(t, testing.AllocsPerRun(100, round))
}

// The parts of a workspace follow each other, and appending to one does not write to the next.
func TestParts(t *testing.T) {
	whole := []float64{1, 2, 3, 4, 5}
	take := Parts(whole)
	a, b := take(2), take(3)
	_ = append(a, 9)
	if a[1] != 2 || b[0] != 3 || len(b) != 3 {
		t.Errorf("want [1 2] and [3 4 5], got %v and %v", a, b)
	}
}
