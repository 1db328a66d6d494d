// SPDX-License-Identifier: Apache-2.0

package distributed

import "github.com/kernelfold/kernelfold/internal/mpi"

// Over returns the group of the ranks of c, which no launcher need have started. It is for the
// tests of this module: Comm is internal to it.
func Over(c mpi.Comm) *Group { return &Group{comm: c} }
