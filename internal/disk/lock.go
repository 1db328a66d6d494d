// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"errors"
	"io/fs"
	"os"

	"github.com/gofrs/flock"
)

// ErrLocked is the error of Lock if the lock is already held.
var ErrLocked = errors.New("locked")

// Lock locks the file at path, which it makes if it does not exist, until unlock is called or the process ends. It
// returns ErrLocked at once if another process, or this one, has locked it. Unlock removes the file if this call made it.
// On a system without file locks nothing is locked.
func Lock(path string) (unlock func(), err error) {
	for {
		_, err := os.Stat(path)
		made := errors.Is(err, fs.ErrNotExist)
		f := flock.New(path, flock.SetPermissions(0o666))
		locked, err := f.TryLock()
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			return func() {}, nil
		case err != nil:
			return nil, err
		case !locked:
			return nil, ErrLocked
		case !sameFile(f, path): // whoever held it before has removed it
			if err := f.Unlock(); err != nil {
				return nil, err
			}
			continue
		}
		return func() {
			if made {
				_ = os.Remove(path) // while it is locked, so that nobody else holds the file that goes
			}
			_ = f.Unlock()
		}, nil
	}
}

// sameFile reports whether the file that is locked is the one at path.
func sameFile(f *flock.Flock, path string) bool {
	held, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(held, there)
}
