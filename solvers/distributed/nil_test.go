// SPDX-License-Identifier: Apache-2.0

package distributed_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/mpi/mpitest"
	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// What is missing is an error that says so.
func TestMissing(t *testing.T) {
	group := distributed.Over(mpitest.Ranks(1)[0])
	var noSAM *solvers.SAM
	var noStock *gorgonia.Momentum
	for name, s := range map[string]*distributed.Solver{
		"zero Solver":      {},
		"nil group":        distributed.Average(nil, solvers.NewSGD()),
		"zero group":       distributed.Average(&distributed.Group{}, solvers.NewSGD()),
		"nil solver":       distributed.Average(group, nil),
		"nil SAM":          distributed.Average(group, noSAM),
		"nil stock solver": distributed.Average(group, noStock),
		"nil option":       distributed.Average(group, solvers.NewSGD(), nil),
	} {
		t.Run(name, func(t *testing.T) {
			_, snapshot := s.Snapshot()
			for _, err := range []error{s.Init(nil), s.Step(nil), s.Ascend(nil), snapshot, s.Restore(nil, &solvers.Snapshot{})} {
				require.ErrorIs(t, err, solvers.ErrOption)
				assert.Contains(t, err.Error(), "want ")
			}
			s.Cancel()
			_ = s.String() + s.Report().String()
		})
	}
}
