// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/manifolds"
)

func TestEnsemble(t *testing.T) {
	e, is, err := cli.Ensemble("po:sphere*2+stiefel", 7)
	require.NoError(t, err)
	assert.True(t, is)
	assert.Equal(t, manifolds.Ensemble{Strategy: manifolds.PO, Parts: []manifolds.Part{{Manifold: manifolds.Sphere{}, Share: 2}, {Manifold: manifolds.Stiefel{}, Share: 1}}, Seed: 7}, e)
	_, is, err = cli.Ensemble("sphere", 7)
	assert.False(t, is)
	assert.NoError(t, err)
	for name, want := range map[string]string{
		"pia:sphere":      `got "pia:sphere"`,
		"pio:":            `got the part "" in "pio:"`,
		"pio:sphere+cube": `got the part "cube"`,
		"pio:sphere*-1":   `got the share "-1"`,
		"pio:sphere*NaN":  `got the share "NaN"`,
	} {
		_, is, err = cli.Ensemble(name, 7)
		assert.True(t, is)
		assert.ErrorContains(t, err, want)
	}
}
