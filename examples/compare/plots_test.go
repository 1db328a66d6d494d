// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"image/png"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTicks(t *testing.T) {
	for _, test := range []struct {
		low, high float64
		whole     bool
		want      []string
	}{
		{1, 6, true, []string{"1", "2", "3", "4", "5", "6"}},
		{0.5, 1.5, true, []string{"1"}},
		{1, 60, true, []string{"10", "20", "30", "40", "50", "60"}},
		{0, 2.3, false, []string{"0", "0.5", "1", "1.5", "2"}},
		{29.8, 94.1, false, []string{"30", "40", "50", "60", "70", "80", "90"}},
		{0.0012, 0.0018, false, []string{"0.0012", "0.0013", "0.0014", "0.0015", "0.0016", "0.0017", "0.0018"}},
	} {
		var got []string
		for _, tick := range (roundTicks{test.whole}).Ticks(test.low, test.high) {
			got = append(got, tick.Label)
		}
		assert.Equal(t, test.want, got)
	}
	var got []string
	for _, tick := range (decades{}).Ticks(-8, 1) {
		got = append(got, tick.Label)
	}
	assert.Equal(t, []string{"1e-08", "1e-07", "1e-06", "1e-05", "1e-04", "1e-03", "1e-02", "1e-01", "1e+00", "1e+01"}, got)
}

// TestPlotExtremes draws what could upset an axis: one epoch, equal values, zeros, and
// solvers that stopped at different epochs.
func TestPlotExtremes(t *testing.T) {
	same := solverJSON{Name: "a", Epochs: []epochJSON{{Loss: 1, Accuracy: 0.5}}}
	longer := solverJSON{Name: "b", Grouping: "per filter", Epochs: []epochJSON{{1, 0.5, 1, 0}, {2, 0.25, 1, 1e-7}}}
	for _, solvers := range [][]solverJSON{{same}, {same, same}, {same, longer}, {{Name: "z", Epochs: []epochJSON{{}}}}} {
		for _, p := range plots {
			b, err := p.png(&results{Solvers: solvers})
			require.NoError(t, err)
			im, err := png.Decode(bytes.NewReader(b))
			require.NoError(t, err)
			assert.Equal(t, int(math.Round(float64(plotHeight.Points())*plotDPI/72)), im.Bounds().Dy())
		}
	}
}
