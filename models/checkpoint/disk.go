// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// disk is what a save does to the file system.
type disk interface {
	create(path string) (file, error) // an error if the file is there
	rename(from, to string) error     // replaces to
	remove(path string) error
	syncFolder(path string) error
	list(folder string) ([]string, error)
}

// file is what a save does to a file.
type file interface {
	io.WriteCloser
	Sync() error
}

// temporary stands between the name of a file and a random number in the name of what
// is to replace it.
const temporary = ".tmp-"

// replace writes a file beside path and, when it is on disk, makes it the file at path.
// The order decides: the data reach the disk before the name does, and the name before
// replace returns.
func replace(d disk, path string, write func(io.Writer) error) error {
	folder, base := filepath.Split(path)
	if folder == "" {
		folder = "."
	}
	if err := sweep(d, folder, base); err != nil {
		return err
	}
	temp := filepath.Join(folder, fmt.Sprintf(".%s%s%016x", base, temporary, rand.Uint64()))
	if err := put(d, temp, write); err != nil {
		d.remove(temp)
		return err
	}
	if err := d.rename(temp, path); err != nil {
		d.remove(temp)
		return err
	}
	return d.syncFolder(folder)
}

// put writes a file and waits until it is on disk.
func put(d disk, path string, write func(io.Writer) error) error {
	f, err := d.create(path)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// sweep removes the temporary files of saves that were killed, to files of names that begin so.
func sweep(d disk, folder, base string) error {
	names, err := d.list(folder)
	if err != nil {
		return err
	}
	for _, name := range names {
		if isTemporary(name, base) {
			if err := d.remove(filepath.Join(folder, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func isTemporary(name, base string) bool {
	i := strings.LastIndex(name, temporary)
	return i >= 0 && strings.HasPrefix(name[:i], "."+base) && len(name) == i+len(temporary)+16
}

// osDisk is the disk of the operating system.
type osDisk struct{}

func (osDisk) create(path string) (file, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
}

func (osDisk) rename(from, to string) error { return os.Rename(from, to) }
func (osDisk) remove(path string) error     { return os.Remove(path) }

func (osDisk) list(folder string) ([]string, error) {
	f, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// syncFolder makes renames lasting. Windows has no such call, and needs none.
func (osDisk) syncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
