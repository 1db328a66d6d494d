// SPDX-License-Identifier: Apache-2.0

// Package disk replaces files atomically, and locks folders against use by two processes.
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
	"syscall"

	"github.com/kernelfold/kernelfold/internal/files"
)

// Disk has the operations on the file system that replacing a file needs.
type Disk interface {
	Create(path string) (File, error) // an error if the file is there
	Rename(from, to string) error     // replaces to
	Remove(path string) error
	SyncFolder(path string) error
	List(folder string) ([]string, error)
}

// File has the operations on a file that replacing it needs.
type File interface {
	io.WriteCloser
	Sync() error
	Chmod(mode fs.FileMode) error
}

// temporary separates the name of a file and a random number in the name of its replacement.
const temporary = ".tmp-"

// Replace replaces the file at path, or where a link at path leads, by the output of write. Whenever the program or the machine stops, path
// holds the previous file or the new one. A file that is replaced must be regular, and the new one has its permissions.
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

// Stage writes the new content of the file at path to a temporary file. It first removes temporary files that a killed program has left there.
func Stage(d Disk, path string, write func(io.Writer) error) (*Staged, error) {
	path, before, err := follow(path)
	if err != nil {
		return nil, err
	}
	folder, base := split(path)
	if err := Sweep(d, folder, base+temporary); err != nil { // of this file alone: others may be staged now
		return nil, err
	}
	s := &Staged{d, filepath.Join(folder, fmt.Sprintf(".%s%s%016x", base, temporary, rand.Uint64())), path}
	if err := put(d, s.temp, before, write); err != nil {
		s.Discard()
		return nil, err
	}
	return s, nil
}

// follow returns where path leads, and the file that is there, nil if there is none.
func follow(path string) (to string, info fs.FileInfo, err error) {
	info, err = os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil, nil
	}
	to = path
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if to, err = filepath.EvalSymlinks(path); err == nil {
			info, err = os.Lstat(to)
		}
	}
	return to, info, files.Regular(path, info, err)
}

// Commit renames the file to its final name. The data are on disk before the file is renamed, and the name is on disk before Commit returns.
func (s *Staged) Commit() error { return s.CommitTo(s.path) }

// CommitTo is Commit to another path in the folder. If there is a link, it replaces the link itself.
func (s *Staged) CommitTo(path string) error {
	if err := s.disk.Rename(s.temp, path); err != nil {
		s.Discard()
		return err
	}
	folder, _ := split(path)
	return s.disk.SyncFolder(folder)
}

// Discard removes the file, unless it has been committed.
func (s *Staged) Discard() { _ = s.disk.Remove(s.temp) }

func split(path string) (folder, base string) {
	if folder, base = filepath.Split(path); folder == "" {
		folder = "."
	}
	return folder, base
}

// put writes a file, with the permissions of another if there is one, and waits until it is on disk.
func put(d Disk, path string, like fs.FileInfo, write func(io.Writer) error) error {
	f, err := d.Create(path)
	if err != nil {
		return err
	}
	if like != nil {
		if err := f.Chmod(like.Mode().Perm()); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			f.Close()
			return err
		}
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

// Sweep removes the temporary files that killed programs have left for files whose names begin with prefix.
func Sweep(d Disk, folder, prefix string) error {
	names, err := d.List(folder)
	if err != nil {
		return err
	}
	for _, name := range names {
		if isTemporary(name, prefix) {
			if err := d.Remove(filepath.Join(folder, name)); err != nil && !errors.Is(err, fs.ErrNotExist) { // another save may have removed it
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

// SyncFolder makes renames durable. Windows has no such call and does not need one; nor have some file systems, such as shared folders of
// virtual machines.
func (OS) SyncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// MakeFolder makes a folder and its parents. Undo removes the folders that it made, if they are empty.
func MakeFolder(path string) (undo func(), err error) {
	var missing []string // the innermost first
	for at := filepath.Clean(path); ; at = filepath.Dir(at) {
		// A link that leads nowhere is not missing, and on Windows a drive may be.
		if _, err := os.Lstat(at); !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
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
