// SPDX-License-Identifier: Apache-2.0

package nodes

import "github.com/kernelfold/kernelfold/internal/par"

// grain is the number of elements for which another core is worthwhile.
const grain = 1 << 15

// parallel divides 0..n into ranges and calls f for each of them, concurrently if there are enough
// elements. The work of f for an index must be independent of other indices, so that the result does
// not depend on the division.
func parallel(n, elements int, f func(from, to int)) {
	par.Ranges(n, max(1, n<<14/max(elements, 1)), f)
}
