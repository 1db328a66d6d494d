// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/kernelfold/kernelfold/internal/disk"
)

// Folder makes a folder for output, with its parents, and checks that files can be made in it, so that a long run does not end in an error.
// Undo removes the folders that it made, if they are empty. An empty path is no folder.
func Folder(path string) (undo func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	if undo, err = disk.MakeFolder(path); err != nil {
		return nil, err
	}
	probe, err := os.CreateTemp(path, ".probe-*")
	if err == nil {
		err = errors.Join(probe.Close(), os.Remove(probe.Name()))
	}
	if err != nil {
		undo()
		return nil, err
	}
	return undo, nil
}

// Outside returns an error of Usage for a flag that names a place of output in a folder that the program reads. What it wrote there would be
// taken for data the next time. Neither path need exist; an empty one is nowhere.
func Outside(flag, path, of, folder string) error {
	if path == "" || folder == "" || !inside(path, folder) {
		return nil
	}
	return Usage("-%s: want a place outside of %s, %s, got %s", flag, of, folder, path)
}

// inside reports whether a path is that of a folder or lies in it, links followed.
func inside(path, folder string) bool {
	of, err := os.Stat(folder)
	if err != nil || !of.IsDir() {
		return false
	}
	at, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	for { // to the first part that exists, where there may be links
		if real, err := filepath.EvalSymlinks(at); err == nil {
			at = real
			break
		}
		if filepath.Dir(at) == at {
			return false
		}
		at = filepath.Dir(at)
	}
	for {
		if is, err := os.Stat(at); err == nil && os.SameFile(is, of) {
			return true
		}
		if filepath.Dir(at) == at {
			return false
		}
		at = filepath.Dir(at)
	}
}

// SameFile reports whether two paths are those of one file, which exists.
func SameFile(a, b string) bool {
	first, errA := os.Stat(a)
	second, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(first, second)
}

// Quote returns a path as it is written in a command: in single quotes if it has a character that a shell might not take as it is.
func Quote(path string) string {
	plain := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("/\\:._-+,@", r)
	}
	if path != "" && strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
