// SPDX-License-Identifier: Apache-2.0

// Package disk replaces files so that each of them is always whole, and keeps two processes out of one folder.
package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Disk is what replacing a file does to the file system.
type Disk interface {
	Create(path string) (File, error) // an error if the file is there
	Rename(from, to string) error     // replaces to
	Remove(path string) error
	SyncFolder(path string) error
	List(folder string) ([]string, error)
}

// File is what replacing a file does to a file.
type File interface {
	io.WriteCloser
	Sync() error
}

// temporary stands between the name of a file and a random number in the name of what
// is to replace it.
const temporary = ".tmp-"

// Replace makes what write writes the file at path. Whenever the program or the machine stops, the file is the one
// before or this one.
func Replace(d Disk, path string, write func(io.Writer) error) error {
	s, err := Stage(d, path, write)
	if err != nil {
		return err
	}
	return s.Commit()
}

// WriteFile replaces the file at path by data.
func WriteFile(path string, data []byte) error {
	return Replace(OS{}, path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// Staged is a file that is on disk, but not yet in its place.
type Staged struct {
	disk       Disk
	temp, path string
}

// Stage writes what is to become the file at path. It first removes what was left there by a program that was killed.
func Stage(d Disk, path string, write func(io.Writer) error) (*Staged, error) {
	folder, base := split(path)
	if err := Sweep(d, folder, base+temporary); err != nil { // of this file alone: others may be staged now
		return nil, err
	}
	s := &Staged{d, filepath.Join(folder, fmt.Sprintf(".%s%s%016x", base, temporary, rand.Uint64())), path}
	if err := put(d, s.temp, write); err != nil {
		s.Discard()
		return nil, err
	}
	return s, nil
}

// Commit puts the file in its place. The data reach the disk before the name does, and the name before Commit returns.
func (s *Staged) Commit() error {
	if err := s.disk.Rename(s.temp, s.path); err != nil {
		s.Discard()
		return err
	}
	folder, _ := split(s.path)
	return s.disk.SyncFolder(folder)
}

// Discard removes the file, unless it is in its place.
func (s *Staged) Discard() { _ = s.disk.Remove(s.temp) }

func split(path string) (folder, base string) {
	if folder, base = filepath.Split(path); folder == "" {
		folder = "."
	}
	return folder, base
}

// put writes a file and waits until it is on disk.
func put(d Disk, path string, write func(io.Writer) error) error {
	f, err := d.Create(path)
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

// Sweep removes what programs that were killed have staged for files whose names begin with prefix.
func Sweep(d Disk, folder, prefix string) error {
	names, err := d.List(folder)
	if err != nil {
		return err
	}
	for _, name := range names {
		if isTemporary(name, prefix) {
			if err := d.Remove(filepath.Join(folder, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func isTemporary(name, prefix string) bool {
	i := strings.LastIndex(name, temporary)
	return i >= 0 && strings.HasPrefix(name, "."+prefix) && len(name) == i+len(temporary)+16
}

// OS is the disk of the operating system.
type OS struct{}

// Create implements Disk.
func (OS) Create(path string) (File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
}

// Rename implements Disk.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove implements Disk.
func (OS) Remove(path string) error { return os.Remove(path) }

// List implements Disk.
func (OS) List(folder string) ([]string, error) {
	f, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// SyncFolder makes renames lasting. Windows has no such call, and needs none.
func (OS) SyncFolder(path string) error {
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

// MakeFolder makes a folder and those above it. Undo removes those that it made, as far as they are empty.
func MakeFolder(path string) (undo func(), err error) {
	var missing []string // the innermost first
	for at := filepath.Clean(path); ; at = filepath.Dir(at) {
		if _, err := os.Stat(at); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		missing = append(missing, at)
	}
	undo = func() {
		for _, m := range missing {
			if os.Remove(m) != nil {
				return
			}
		}
	}
	if err := os.MkdirAll(path, 0o777); err != nil {
		undo()
		return nil, err
	}
	return undo, nil
}
