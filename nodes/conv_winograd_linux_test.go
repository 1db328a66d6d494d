// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// threadTime returns the processor time of this thread in seconds.
func threadTime(b *testing.B) float64 {
	var t unix.Timespec
	require.NoError(b, unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t))
	return float64(t.Nano()) / 1e9
}

// BenchmarkWinograd compares Winograd's algorithm with direct convolutions, in turns and on one
// thread, for the layers of a small net, of ResNet-20 and of WRN-16-4. Times are medians of the processor
// time of a call.
func BenchmarkWinograd(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, c := range []convolution{
		square(32, 32, 64, 16, 16, 1, 1), square(32, 64, 128, 8, 8, 1, 1),
		square(64, 16, 16, 32, 32, 1, 1), square(64, 32, 32, 16, 16, 1, 1), square(64, 64, 64, 8, 8, 1, 1),
		square(32, 64, 64, 32, 32, 1, 1), square(32, 128, 128, 16, 16, 1, 1), square(32, 256, 256, 8, 8, 1, 1),
	} {
		o, t, direct := c.byWinograd(b)
		rng := rand.New(rand.NewPCG(1, 2))
		in := [][]float32{drawn[float32](rng, o.in[0].TotalSize()), drawn[float32](rng, o.in[1].TotalSize())}
		y, g := make([]float32, o.out.TotalSize()), drawn[float32](rng, o.out.TotalSize())
		dx, dw := make([]float32, len(in[0])), make([]float32, len(in[1]))
		for i, quantity := range quantityNames {
			b.Run(fmt.Sprintf("%d of %dx%dx%d to %d/%s", c.x[0], c.x[1], c.x[2], c.x[3], c.w[0], quantity), func(b *testing.B) {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				var times [2][]float64
				for b.Loop() {
					for turn := range 10 { // enough for medians where a call takes long
						j, of := turn%2, body[float32](direct)
						if j == 1 {
							of = t
						}
						start := threadTime(b)
						switch i {
						case 0:
							require.NoError(b, of.Forward(y, in))
						case 1:
							require.NoError(b, of.Backward(dx, 0, in, y, g))
						default:
							require.NoError(b, of.Backward(dw, 1, in, y, g))
						}
						times[j] = append(times[j], threadTime(b)-start)
					}
				}
				var medians [2]float64
				for j, all := range times {
					slices.Sort(all)
					medians[j] = all[len(all)/2]
				}
				b.ReportMetric(0, "ns/op") // of both together
				b.ReportMetric(medians[0]*1e3, "direct-ms")
				b.ReportMetric(medians[1]*1e3, "winograd-ms")
				b.ReportMetric(medians[0]/medians[1], "direct/winograd")
			})
		}
	}
}
