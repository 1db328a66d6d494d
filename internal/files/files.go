// SPDX-License-Identifier: Apache-2.0

// Package files opens files that come from outside, reads their JSON strictly, and says what a file is that is not what was wanted.
package files

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Open opens a regular file for reading and returns its size. Anything else, such as a directory or a named pipe, is an error:
// opening a pipe would wait for somebody to write to it.
func Open(path string) (*os.File, int64, error) {
	info, err := os.Stat(path)
	if err := Regular(path, info, err); err != nil {
		return nil, 0, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err = f.Stat()
	if err := Regular(path, info, err); err != nil { // it may have been replaced
		f.Close()
		return nil, 0, err
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

// JSON reads a text of one JSON value that has no fields but those of the type. Anything behind the value is an error.
func JSON(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("want one JSON value, got more")
	}
	return nil
}

// Regular returns an error that names the file, unless info, the result of a Stat that returned err, is that of a regular file.
func Regular(path string, info fs.FileInfo, err error) error {
	if err == nil && info.Mode().IsRegular() {
		return nil
	}
	if err == nil {
		err = errors.New("want a regular file, got a " + modeName(info.Mode()))
	}
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return err
	}
	return &fs.PathError{Op: "open", Path: path, Err: err}
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
