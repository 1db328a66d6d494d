// SPDX-License-Identifier: Apache-2.0

package nodes

import "github.com/kernelfold/kernelfold/internal/par"

// grain is the number of elements below which another core does not pay.
const grain = 1 << 15

// parallel calls f for ranges that make up 0..n, side by side if there are enough
// elements to make it pay. What f does for an index must depend on that
// index alone, so that the split does not show in the result.
func parallel(n, elements int, f func(from, to int)) {
	par.Ranges(n, max(1, n<<14/max(elements, 1)), f)
}
