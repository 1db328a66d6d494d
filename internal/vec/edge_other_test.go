// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package vec

import "testing"

// upToTheEdge returns n elements.
func upToTheEdge[T Float](_ *testing.T, n int) []T { return make([]T, n) }
