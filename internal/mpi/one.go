// SPDX-License-Identifier: Apache-2.0

//go:build !mpi

package mpi

// Join returns the Comm of this process alone, and an error if a launcher started more.
func Join() (Comm, error) {
	return one{}, alone("build with -tags mpi to join them")
}
