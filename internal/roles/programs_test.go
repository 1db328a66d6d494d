// SPDX-License-Identifier: Apache-2.0

package roles_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/roles"
	"github.com/kernelfold/kernelfold/internal/roles/rolestest"
)

func kernels(t *testing.T, ns gorgonia.Nodes) (names []string) {
	var r roles.Reader
	for _, n := range ns {
		a := r.Of(n, n.Shape())
		assert.True(t, a.ByUse, n.Name())
		assert.NotEmpty(t, a.Why, n.Name())
		assert.Equal(t, a, roles.Of(n), n.Name())
		if a.Role == roles.Kernel {
			names = append(names, n.Name())
		}
	}
	return names
}

// The kernels of every program are those that it lists, before its cost is
// differentiated and after; and every program runs, so that what is listed is a net
// that can be trained.
func TestKernelsOfPrograms(t *testing.T) {
	for _, p := range rolestest.Programs() {
		for _, of := range []tensor.Dtype{tensor.Float32, tensor.Float64} {
			t.Run(p.Name+" "+of.String(), func(t *testing.T) {
				for i, net := range p.Nets(of) {
					why := map[string]string{}
					for _, n := range net.Learnables {
						why[n.Name()] = roles.Of(n).Why
					}
					assert.Equal(t, net.Kernels, kernels(t, net.Learnables), "net %d", i)
					assert.Equal(t, net.FrozenKernels, kernels(t, net.Frozen), "net %d", i)

					vm, err := net.Machine()
					require.NoError(t, err)
					assert.Equal(t, net.Kernels, kernels(t, net.Learnables), "net %d, after Grad", i)
					assert.Equal(t, net.FrozenKernels, kernels(t, net.Frozen), "net %d, after Grad", i)
					for _, n := range net.Learnables {
						assert.Equal(t, why[n.Name()], roles.Of(n).Why, "%s, after Grad", n.Name())
					}
					assert.NoError(t, vm.RunAll())
					assert.NoError(t, vm.Close())
				}
			})
		}
	}
}
