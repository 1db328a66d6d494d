// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
)

// allocationContest counts the bytes that a training step allocates after the first steps. The peer is an upper bound.
func allocationContest() contest {
	const most = 64e3
	return contest{
		name: "allocation, ResNet-20", counted: true,
		entrants: []entrant{
			allocates(resNet(resNetBatch).trains("ours", decaySGD())),
			{"bar", func(context.Context, *stage) (contestant, error) {
				return count(func() (float64, error) { return most, nil }), nil
			}},
		},
		rows: []row{{
			what: "bytes allocated in a step, ResNet-20", peer: "64 kB", unit: "B",
			ours: of("ours"), its: of("bar"), bar: bar{1, 8e3 / most},
			as: func(ratio float64) string { return fmt.Sprintf("%.1f kB", ratio*most/1e3) },
		}},
	}
}

// allocates is an entrant that measures the bytes that a step of another entrant allocates.
func allocates(e entrant) entrant {
	return entrant{e.name, func(ctx context.Context, s *stage) (contestant, error) {
		c, err := e.make(ctx, s)
		if err != nil {
			return nil, err
		}
		return allocating{c, func() (float64, error) {
			a, err := allocated(ctx, c, 10, 20)
			return a.Bytes, err
		}}, nil
	}}
}

type allocating struct {
	contestant
	bytes count
}

func (a allocating) run(int) (float64, error) { return a.bytes() }
