// SPDX-License-Identifier: Apache-2.0

package models_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/rerun"
	"github.com/kernelfold/kernelfold/models"
)

// diary is the Sums of a single process. It records what it is asked to sum.
type diary struct{ lines []string }

func (d *diary) Sum(values ...float64) ([]float64, error) {
	d.lines = append(d.lines, fmt.Sprint(values[1], len(values))) // the key of the place
	return values, nil
}

// sums builds a net with branches side by side and lists the sums of two runs.
func sums(t *testing.T) []string {
	d := &diary{}
	m, err := models.ResNet(4, 14, models.Options{Shape: [3]int{3, 8, 8}, Classes: 5, Projections: true, Seed: 1, BatchNormOver: d})
	require.NoError(t, err)
	vm := gorgonia.NewTapeMachine(m.Graph, gorgonia.BindDualValues(m.Learnables...))
	defer vm.Close()
	pixels := make([]float32, 4*3*8*8)
	for i := range pixels {
		pixels[i] = float32(i%7) - 3
	}
	for range 2 {
		require.NoError(t, m.SetBatch(pixels, []int{0, 1, 2, 3}))
		require.NoError(t, vm.RunAll())
		vm.Reset()
	}
	p, err := m.Predictor()
	require.NoError(t, err)
	defer p.Close()
	before := len(d.lines)
	_, err = p.Classify(pixels)
	require.NoError(t, err)
	assert.Len(t, d.lines, before, "evaluation sums nothing")
	return d.lines
}

// Machines of one net, in any process, come to the sums of batch normalisations in the same order,
// although Gorgonia keeps graphs in maps.
func TestOrderOfSums(t *testing.T) {
	const variable = "KERNELFOLD_ORDER_OF_SUMS"
	if file := os.Getenv(variable); file != "" {
		require.NoError(t, os.WriteFile(file, []byte(strings.Join(sums(t), "\n")), 0o666))
		return
	}
	want := sums(t)
	const layers = 1 + 12 + 2
	assert.Len(t, want, 2*3*layers)
	assert.Equal(t, want[:3*layers], want[3*layers:])
	places := map[string]bool{}
	for _, line := range want {
		places[line] = true
	}
	assert.Len(t, places, 3*layers, "a key of its own for each place")
	for range 3 {
		assert.Equal(t, want, sums(t))
	}
	for i := range 3 {
		file := fmt.Sprintf("%s/%d", t.TempDir(), i)
		c := rerun.Command("-test.run=^TestOrderOfSums$")
		c.Env = append(os.Environ(), variable+"="+file)
		out, err := c.CombinedOutput()
		require.NoError(t, err, string(out))
		got, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Equal(t, want, strings.Split(string(got), "\n"))
	}
}
