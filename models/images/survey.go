// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
)

// each calls do with every number below n, on all cores. It returns the error of the smallest number that has one.
func each(ctx context.Context, n int, do func(i int) error) error {
	errs := make([]error, n)
	var next atomic.Int64
	var failed atomic.Bool
	var all sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		all.Go(func() {
			for ctx.Err() == nil && !failed.Load() {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if errs[i] = do(i); errs[i] != nil {
					failed.Store(true)
				}
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Check decodes every picture, on all cores, and returns those that can be read. The others are counted as skipped or, unless broken
// pictures are skipped, the first of them is the error. So in an evaluation of the result no picture takes the place of a broken one.
func (p *Pictures) Check(ctx context.Context) (*Pictures, error) {
	bad := make([]bool, p.Len())
	err := each(ctx, p.Len(), func(i int) error {
		m, err := readPicture(p.Path(i))
		if err == nil {
			m.free()
			return nil
		}
		if p.broken == nil {
			return err
		}
		p.broken.add(p.Path(i), err)
		bad[i] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	var sound []int
	for i, b := range bad {
		if !b {
			sound = append(sound, i)
		}
	}
	if len(sound) == 0 {
		return nil, fmt.Errorf("images: %s: want pictures that can be read, got none in %d", p.dir, p.Len())
	}
	return p.part(sound), nil
}

// Statistics returns the mean and the standard deviation of each channel, for the fields Mean and Std, over n pictures evenly
// spread, or all if there are fewer or n is 0, as they are in evaluation. Use those of the training part for all parts.
func (p *Pictures) Statistics(ctx context.Context, n int) (mean, std []float32, err error) {
	if p.Len() == 0 || n < 0 {
		return nil, nil, fmt.Errorf("images: %s: want pictures to measure, got %d of %d", p.dir, n, p.Len())
	}
	if n == 0 || n > p.Len() {
		n = p.Len()
	}
	pre := p.Preprocessing
	pre.Mean, pre.Std = nil, nil // which are to be measured
	if pre, err = pre.withDefaults(); err != nil {
		return nil, nil, err
	}
	channels := pre.Channels()
	var lock sync.Mutex
	sums := make([][2]int64, channels) // of integers, so that the order does not matter
	err = each(ctx, n, func(k int) error {
		m, err := p.read(int(int64(k) * int64(p.Len()) / int64(n)))
		if err != nil {
			return err
		}
		defer m.free()
		for c, plane := range m.middle(pre.Resize, pre.Size, channels).pix {
			var sum, square int64
			for _, v := range plane {
				sum, square = sum+int64(v), square+int64(v)*int64(v)
			}
			lock.Lock()
			sums[c][0], sums[c][1] = sums[c][0]+sum, sums[c][1]+square
			lock.Unlock()
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	count := float64(n) * float64(pre.Size) * float64(pre.Size)
	for _, s := range sums {
		m := float64(s[0]) / count
		d := math.Sqrt(max(0, float64(s[1])/count-m*m))
		if d == 0 {
			d = 255 // pictures without any contrast are only centred
		}
		mean, std = append(mean, float32(m/255)), append(std, float32(d/255))
	}
	return mean, std, nil
}
