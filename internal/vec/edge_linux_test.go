// SPDX-License-Identifier: Apache-2.0

package vec

import (
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// upToTheEdge returns n elements before a page that must not be touched.
func upToTheEdge[T Float](t *testing.T, n int) []T {
	page, size := syscall.Getpagesize(), n*int(unsafe.Sizeof(T(0)))
	whole := (size + page - 1) / page * page
	memory, err := syscall.Mmap(-1, 0, whole+page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Munmap(memory)) })
	require.NoError(t, syscall.Mprotect(memory[whole:], syscall.PROT_NONE))
	return unsafe.Slice((*T)(unsafe.Pointer(&memory[whole-size])), n)
}
