// SPDX-License-Identifier: Apache-2.0

package distributed

import "github.com/kernelfold/kernelfold/internal/mpi"

// GroupOf makes the group of a Comm.
func GroupOf(c mpi.Comm) *Group { return &Group{comm: c} }
