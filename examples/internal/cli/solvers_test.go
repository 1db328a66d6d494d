// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/manifolds"
)

func TestFind(t *testing.T) {
	m, err := cli.Find("manifold", "grassmann", cli.Manifolds)
	require.NoError(t, err)
	assert.Equal(t, manifolds.Grassmann{}, m)
	g, err := cli.Find("grouping", "cube", cli.Groupings)
	assert.EqualError(t, err, `-grouping: want one of slice, filter, channel, tap, bank, got "cube"`)
	assert.Nil(t, g)
	assert.Equal(t, 2, cli.Status("x", err, t.Output()))
}

func TestVersions(t *testing.T) {
	v := cli.Versions("gorgonia.org/gorgonia")
	assert.Equal(t, runtime.Version(), v["go"])
	assert.Equal(t, runtime.GOOS+"/"+runtime.GOARCH, v["platform"])
	assert.NotContains(t, v, "tensor")
}
