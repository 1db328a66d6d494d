// SPDX-License-Identifier: Apache-2.0

package nodes

import "github.com/kernelfold/kernelfold/internal/par"

// grain is the number of elements from which using another core pays off.
const grain = 1 << 13

// parallel divides 0..n into ranges and calls f for each of them, concurrently if there are enough
// elements. The work of f for an index must be independent of other indices, so that the result does
// not depend on the division.
func parallel(n, elements int, f func(from, to int)) {
	par.Ranges(n, worth(n, elements), f)
}

// worth returns how many of n indices, which together stand for the given number of elements, make up a grain.
func worth(n, elements int) int { return max(1, int(int64(n)*grain/int64(max(elements, 1)))) }

// block is the number of elements that go through several steps at a time, so that intermediate results stay in the first-level cache.
const block = 1 << 11

// blocks calls f for consecutive parts of a range, each of at most a block.
func blocks(from, to int, f func(from, to int)) {
	for ; from < to; from += block {
		f(from, min(from+block, to))
	}
}
