// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/gemm"
)

// A block of tiny elements leaves the others as they are.
func TestClipOfBlocks(t *testing.T) {
	x := gemm.Of([]float64{
		1e-70, 1e-70, 0, 0,
		0, 1e-70, 0, 0,
		0, 0, 2, 1,
		0, 0, 0, 2,
	}, 4, 4)
	got, want := like(x), like(x)
	require.NoError(t, Clip(got, x, 1))
	require.NoError(t, clipLong(want, x, 1))
	require.InDeltaSlice(t, want.Data, got.Data, 1e-14)
}
