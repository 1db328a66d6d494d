// SPDX-License-Identifier: Apache-2.0

package distributed

import "github.com/kernelfold/kernelfold/internal/mpi"

// Over returns the group of the ranks of c, which works without a launcher. It is for the tests of this module: Comm is internal to it.
func Over(c mpi.Comm) *Group { return &Group{comm: c} }
