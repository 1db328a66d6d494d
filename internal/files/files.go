// SPDX-License-Identifier: Apache-2.0

// Package files opens files that come from outside, and says what a file is that is not what was wanted.
package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Open opens a regular file for reading and returns its size. Anything else, such as a directory or a named pipe, is an error:
// opening a pipe would wait for somebody to write to it.
func Open(path string) (*os.File, int64, error) {
	if err := regular(os.Stat(path)); err != nil {
		return nil, 0, named(path, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err := regular(info, err); err != nil { // it may have been replaced
		f.Close()
		return nil, 0, named(path, err)
	}
	return f, info.Size(), nil
}

// Read reads a regular file of at most limit bytes.
func Read(path string, limit int64) ([]byte, error) {
	f, size, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > limit {
		return nil, fmt.Errorf("%s: want a file of at most %d bytes, got %d", path, limit, size)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// named makes an error one that names the file, unless it does already.
func named(path string, err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return err
	}
	return &fs.PathError{Op: "open", Path: path, Err: err}
}

func regular(info fs.FileInfo, err error) error {
	if err != nil || info.Mode().IsRegular() {
		return err
	}
	return errors.New("want a regular file, got a " + modeName(info.Mode()))
}

func modeName(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

// headBytes is how much of a file Kind wants to see.
const headBytes = 512

// KindOf is Kind of the beginning of a file.
func KindOf(r io.ReaderAt) string {
	head := make([]byte, headBytes)
	n, _ := r.ReadAt(head, 0) // what cannot be read is not known
	return Kind(head[:n])
}
