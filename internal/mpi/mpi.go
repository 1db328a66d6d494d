// SPDX-License-Identifier: Apache-2.0

//go:build mpi

package mpi

import (
	"fmt"
	"sync"

	"github.com/emer/empi/mpi"
)

const (
	// longest is the largest number of bytes in one call: MPI counts in C's int.
	longest = 1<<31 - 1
	// summed is the number of bytes in one call that adds. Open MPI makes its work space anew for
	// larger ones, and fresh memory costs more than all the rest: 24 MB at once took six times as long as in parts.
	summed = 1 << 22
)

// world is the ranks that the launcher started.
type world struct {
	comm       *mpi.Comm
	rank, size int
}

var (
	started, ended sync.Once
	errStart       error
)

// Join starts MPI, at the first call, and returns the Comm of the ranks that the launcher started. MPI is asked to
// serve any thread, since a goroutine may go on in another one.
func Join() (Comm, error) {
	started.Do(func() {
		mpi.LogErrors = false
		errStart = mpi.InitThreadSafe()
	})
	if errStart != nil {
		return nil, errStart
	}
	w := &world{}
	var err error
	if w.comm, err = mpi.NewComm(nil); err != nil {
		return nil, err
	}
	w.rank, w.size = w.comm.Rank(), w.comm.Size()
	if w.size == 1 {
		return w, alone("the launcher does not speak with the MPI library of this program; with Slurm, srun --mpi=pmix may")
	}
	return w, nil
}

func (w *world) Rank() int { return w.rank }
func (w *world) Size() int { return w.size }

func (w *world) Sum32(dst, src []float32) error {
	return inParts(len(src), summed/4, func(from, to int) error {
		return w.comm.AllReduceF32(mpi.OpSum, dst[from:to], src[from:to])
	})
}

func (w *world) Sum64(dst, src []float64) error {
	return inParts(len(src), summed/8, func(from, to int) error {
		return w.comm.AllReduceF64(mpi.OpSum, dst[from:to], src[from:to])
	})
}

func (w *world) Broadcast(root int, b []byte) error {
	return inParts(len(b), longest, func(from, to int) error { return w.comm.BcastU8(root, b[from:to]) })
}

// inParts calls f for the whole range, which may be empty, in parts of at most the given length.
func inParts(n, most int, f func(from, to int) error) error {
	for from := 0; from < n; from += most {
		if err := f(from, min(n, from+most)); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) Gather(dst, src []byte) error {
	switch {
	case len(dst) != w.size*len(src):
		return fmt.Errorf("gather: want %d bytes of memory for %d from each rank, got %d", w.size*len(src), len(src), len(dst))
	case len(src) == 0:
		return nil
	case len(dst) <= longest:
		return w.comm.AllGatherU8(dst, src)
	}
	for r := range w.size { // positions in dst pass what MPI can count
		part := dst[r*len(src) : (r+1)*len(src)]
		if r == w.rank {
			copy(part, src)
		}
		if err := w.Broadcast(r, part); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) Close() error {
	ended.Do(mpi.Finalize)
	return nil
}
