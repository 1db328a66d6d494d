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
