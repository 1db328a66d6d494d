// SPDX-License-Identifier: Apache-2.0

package distributed_test

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/mpi"
	"github.com/kernelfold/kernelfold/internal/mpi/mpitest"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

var (
	measureTo = flag.String("measure", "", "the `file` to which TestMeasure writes what it measures, as JSON")
	rounds    = flag.Int("rounds", 9, "how often TestMeasure measures a step; a transfer 5 times as often")
)

// measured is what TestMeasure writes. Times are medians, of the slowest rank each time.
type measured struct {
	Ranks      int        `json:"ranks"`
	Hosts      []string   `json:"hosts"`
	GOMAXPROCS int        `json:"gomaxprocs"`
	Transfers  []transfer `json:"transfers"`
	Steps      []step     `json:"steps"`
}

// transfer is what one collective call takes, for the terms alpha + beta n of a model of it.
type transfer struct {
	Operation string  `json:"operation"` // sum of float32, gather, broadcast, exchange by a broadcast of each rank
	Bytes     int     `json:"bytes"`     // of each rank; of all for gather and exchange
	Seconds   float64 `json:"seconds"`
}

// step is what a step takes without forward and backward passes.
type step struct {
	Net           string  `json:"net"`
	Solver        string  `json:"solver"`
	Weights       int     `json:"weights"`
	Alone         float64 `json:"alone_seconds"`         // of the solver, without Average
	Whole         float64 `json:"whole_seconds"`         // every rank does everything
	Shared        float64 `json:"shared_seconds"`        // ranks share the work
	WholeSum      float64 `json:"whole_sum_seconds"`     // of Whole, in sums of gradients
	SharedSum     float64 `json:"shared_sum_seconds"`    // of Shared, likewise
	SharedTell    float64 `json:"shared_tell_seconds"`   // of Shared, in the exchange and the agreement, with waiting
	Communication float64 `json:"communication_share"`   // of Shared
	Gain          float64 `json:"whole_to_shared_ratio"` // how much faster the shared step is
}

// timed is a Comm that keeps the time spent in it.
type timed struct {
	mpi.Comm
	sum, tell time.Duration
}

func (c *timed) Sum32(dst, src []float32) error {
	defer c.since(&c.sum, time.Now())
	return c.Comm.Sum32(dst, src)
}

func (c *timed) Gather(dst, src []byte) error {
	defer c.since(&c.tell, time.Now())
	return c.Comm.Gather(dst, src)
}

func (c *timed) Broadcast(root int, b []byte) error {
	defer c.since(&c.tell, time.Now())
	return c.Comm.Broadcast(root, b)
}

func (c *timed) since(to *time.Duration, t time.Time) { *to += time.Since(t) }

// slowest returns the largest of each number over the ranks.
func slowest(t *testing.T, c mpi.Comm, own ...float64) []float64 {
	t.Helper()
	b := []byte{}
	for _, v := range own {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	all := make([]byte, c.Size()*len(b))
	require.NoError(t, c.Gather(all, b))
	for i := range all[:len(all)/8] {
		own[i%len(own)] = max(own[i%len(own)], math.Float64frombits(binary.LittleEndian.Uint64(all[8*i:])))
	}
	return own
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// meet is a barrier.
func meet(t *testing.T, c mpi.Comm) {
	t.Helper()
	require.NoError(t, c.Gather(make([]byte, 8*c.Size()), make([]byte, 8)))
}

// resNet20 and resNet18 are the convolutions of the nets of CIFAR-10 and ImageNet (He, Zhang, Ren, Sun 2016).
func resNet20() (m []*param) {
	in := 16
	m = append(m, newParam("conv", tensor.Float32, 1, 16, 3, 3, 3))
	for _, out := range []int{16, 32, 64} {
		for range 6 {
			m = append(m, newParam(fmt.Sprint("conv", len(m)), tensor.Float32, 1, out, in, 3, 3))
			in = out
		}
	}
	return m
}

func resNet18() (m []*param) {
	in := 64
	m = append(m, newParam("conv", tensor.Float32, 1, 64, 3, 7, 7))
	for _, out := range []int{64, 128, 256, 512} {
		if in != out {
			m = append(m, newParam(fmt.Sprint("down", len(m)), tensor.Float32, 1, out, in, 1, 1))
		}
		for range 4 {
			m = append(m, newParam(fmt.Sprint("conv", len(m)), tensor.Float32, 1, out, in, 3, 3))
			in = out
		}
	}
	return m
}

// TestMeasure measures transfers and steps:
//
//	go test -tags mpi -c -o measure.test ./solvers/distributed
//	GOMAXPROCS=1 mpirun -np 2 ./measure.test -test.run '^TestMeasure$' -measure 2.json
func TestMeasure(t *testing.T) {
	if *measureTo == "" {
		t.Skip("measures, with -measure FILE")
	}
	c := mpitest.World()
	host, err := os.Hostname()
	require.NoError(t, err)
	hosts, err := distributed.Over(c).Gather([]byte(host))
	require.NoError(t, err)
	out := measured{Ranks: c.Size(), GOMAXPROCS: runtime.GOMAXPROCS(0)}
	for _, h := range hosts {
		out.Hosts = append(out.Hosts, string(h))
	}
	out.Transfers = transfers(t, c)
	for _, n := range []struct {
		name string
		make func() []*param
	}{{"ResNet-20", resNet20}, {"ResNet-18", resNet18}} {
		for _, m := range []manifolds.Manifold{manifolds.Euclidean{}, manifolds.Sphere{}, manifolds.Stiefel{}} {
			s := steps(t, c, n.make, m)
			s.Net = n.name
			out.Steps = append(out.Steps, s)
		}
	}
	if c.Rank() == 0 {
		text, err := json.MarshalIndent(out, "", "\t")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(*measureTo, append(text, '\n'), 0o666))
	}
}

func transfers(t *testing.T, c mpi.Comm) (all []transfer) {
	for size := 64; size <= 1<<26; size *= 4 {
		src, dst := make([]float32, size/4), make([]float32, size/4)
		own, parts, b := make([]byte, size/c.Size()), make([]byte, size/c.Size()*c.Size()), make([]byte, size)
		for _, op := range []struct {
			name string
			run  func() error
		}{
			{"sum", func() error { return c.Sum32(dst, src) }},
			{"gather", func() error { return c.Gather(parts, own) }},
			{"broadcast", func() error { return c.Broadcast(0, b) }},
			{"exchange", func() error {
				for r := range c.Size() {
					if err := c.Broadcast(r, parts[r*len(own):(r+1)*len(own)]); err != nil {
						return err
					}
				}
				return nil
			}},
		} {
			var seconds []float64
			for range 5 * *rounds {
				meet(t, c)
				start := time.Now()
				require.NoError(t, op.run())
				seconds = append(seconds, slowest(t, c, time.Since(start).Seconds())[0])
			}
			all = append(all, transfer{op.name, size, median(seconds)})
		}
	}
	return all
}

// steps measures the three ways of a step in turn.
func steps(t *testing.T, c mpi.Comm, net func() []*param, m manifolds.Manifold) step {
	watch := &timed{Comm: c}
	g := distributed.Over(watch)
	sgd := func() gorgonia.Solver {
		return solvers.NewSGD(solvers.LearnRate(1e-3), solvers.Momentum(0.9), kernels(m))
	}
	out := step{Solver: "SGD momentum, " + manifolds.Name(m)}
	var ways [3]struct {
		solver            gorgonia.Solver
		net               []*param
		total, sum, tells []float64
	}
	for i := range ways {
		ways[i].net = net()
	}
	ways[0].solver = sgd()
	ways[1].solver = distributed.Average(g, sgd(), distributed.Divide(false))
	ways[2].solver = distributed.Average(g, sgd())
	for _, p := range ways[0].net {
		out.Weights += p.w.Size()
	}
	for round := range *rounds + 2 {
		for i := range ways {
			w := &ways[i]
			for _, p := range w.net {
				g := p.g.Float32s()
				for k := range g {
					g[k] = 1e-3 * float32(1+k%7)
				}
			}
			given := all(w.net)
			meet(t, c)
			watch.sum, watch.tell = 0, 0
			start := time.Now()
			require.NoError(t, w.solver.Step(given))
			now := slowest(t, c, time.Since(start).Seconds(), watch.sum.Seconds(), watch.tell.Seconds())
			if round >= 2 { // state is made, weights are projected
				w.total, w.sum, w.tells = append(w.total, now[0]), append(w.sum, now[1]), append(w.tells, now[2])
			}
		}
	}
	out.Alone, out.Whole, out.Shared = median(ways[0].total), median(ways[1].total), median(ways[2].total)
	out.WholeSum, out.SharedSum, out.SharedTell = median(ways[1].sum), median(ways[2].sum), median(ways[2].tells)
	out.Communication = (out.SharedSum + out.SharedTell) / out.Shared
	out.Gain = out.Whole / out.Shared
	return out
}
