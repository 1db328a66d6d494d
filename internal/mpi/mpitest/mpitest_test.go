// SPDX-License-Identifier: Apache-2.0

package mpitest

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/mpi"
)

func TestMain(m *testing.M) { Main(m) }

// Sums, gathers and broadcasts of many sizes, on one rank and more. Bits that are no numbers
// arrive as they were sent.
func TestCollectives(t *testing.T) {
	for _, n := range []int{1, 2, 3, 4} {
		Run(t, n, func(t *testing.T, c mpi.Comm) {
			assert.Equal(t, n, c.Size())
			for _, size := range []int{0, 1, 2, 7, 1000, 10_007} {
				src32, src64 := make([]float32, size), make([]float64, size)
				for i := range size {
					src32[i] = float32(i%100 + c.Rank())
					src64[i] = float64(i * (1 + c.Rank()))
				}
				dst32, dst64 := make([]float32, size), make([]float64, size)
				require.NoError(t, c.Sum32(dst32, src32))
				require.NoError(t, c.Sum64(dst64, src64))
				for i := range size {
					if want := float32(n*(i%100) + n*(n-1)/2); dst32[i] != want {
						require.Equal(t, want, dst32[i])
					}
					if want := float64(i * n * (n + 1) / 2); dst64[i] != want {
						require.Equal(t, want, dst64[i])
					}
				}

				sent := make([]byte, size)
				for i := range sent {
					sent[i] = byte(i*7 + c.Rank()*13)
				}
				all := make([]byte, n*size)
				require.NoError(t, c.Gather(all, sent))
				for i := range all {
					if want := byte(i%size*7 + i/size*13); all[i] != want {
						require.Equal(t, want, all[i])
					}
				}
				for root := range n {
					b := append([]byte(nil), sent...)
					require.NoError(t, c.Broadcast(root, b))
					for i := range b {
						if want := byte(i*7 + root*13); b[i] != want {
							require.Equal(t, want, b[i])
						}
					}
				}
			}
		})
	}
}

// The sum is the same on every rank, and every time, to the bit.
func TestSumsRepeat(t *testing.T) {
	for _, n := range []int{2, 3, 4} {
		Run(t, n, func(t *testing.T, c mpi.Comm) {
			for _, size := range []int{1, 33, 5000, 700_001} {
				src := make([]float32, size)
				for i := range src {
					src[i] = float32(math.Sin(float64(i*(c.Rank()+3)))) * float32(math.Exp(float64(i%17)))
				}
				first := make([]float32, size)
				require.NoError(t, c.Sum32(first, src))
				for range 5 {
					again := make([]float32, size)
					require.NoError(t, c.Sum32(again, src))
					require.True(t, slices.Equal(first, again))
				}
				sum := uint64(0)
				for _, v := range first {
					sum = sum*31 + uint64(math.Float32bits(v))
				}
				mine := make([]byte, 8)
				for i := range mine {
					mine[i] = byte(sum >> (8 * i))
				}
				all := make([]byte, 8*n)
				require.NoError(t, c.Gather(all, mine))
				for r := range n {
					require.Equal(t, mine, all[8*r:8*r+8], "rank %d", r)
				}
			}
		})
	}
}
