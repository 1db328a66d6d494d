// SPDX-License-Identifier: Apache-2.0

package images

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
)

// Load reads the images in dir, whichever of these it holds:
//
//	MNIST, Fashion-MNIST  train-images-idx3-ubyte  train-labels-idx1-ubyte
//	                      t10k-images-idx3-ubyte   t10k-labels-idx1-ubyte
//	CIFAR-10 (binary)     data_batch_1.bin .. data_batch_5.bin, any of them; test_batch.bin
//	CIFAR-100 (binary)    train.bin  test.bin, with the 100 fine labels
//
// each plain or with .gz appended; of a file that is there both ways the plain
// one is read. A limit above 0 keeps the first limit training images and the
// first limit/5, rounded up, test images.
//
// The set is named after the directory. Memory is allocated as pixels arrive, never on the
// word of a header.
func Load(dir string, limit int) (*Set, error) {
	if limit < 0 {
		return nil, fmt.Errorf("images: limit: want 0 (all) or a number of images, got %d", limit)
	}
	if info, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("images: %w", err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("images: %s: want a directory, got a file", dir)
	}
	if _, err := os.ReadDir(dir); err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	keep := [2]int{math.MaxInt, math.MaxInt}
	if limit > 0 {
		keep = [2]int{limit, (limit + 4) / 5}
	}
	name := filepath.Base(dir)
	if abs, err := filepath.Abs(dir); err == nil {
		name = filepath.Base(abs)
	}
	var loaders []func(dir, name string, keep [2]int) (*Set, error)
	if find(dir, idxFiles[0].images) != "" {
		loaders = append(loaders, loadIDX)
	}
	for _, f := range []cifar{cifar10, cifar100} {
		if len(f.here(dir)) > 0 {
			loaders = append(loaders, f.load)
		}
	}
	switch len(loaders) {
	case 0:
		return nil, fmt.Errorf("images: %s: want %s[.gz] (MNIST, Fashion-MNIST), %s[.gz] (CIFAR-10) or %s[.gz] (CIFAR-100), got none of them",
			dir, idxFiles[0].images, cifar10.train[0], cifar100.train[0])
	case 1:
		return loaders[0](dir, name, keep)
	}
	return nil, fmt.Errorf("images: %s: want one set of images, got files of several", dir)
}

// find returns the path of the file in dir, plain or gzipped, or "".
func find(dir, file string) string {
	for _, ext := range []string{"", ".gz"} {
		if path := filepath.Join(dir, file+ext); exists(path) {
			return path
		}
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// source is a file being read, unpacked if it is gzipped.
type source struct {
	path   string
	file   *os.File
	r      io.Reader
	packed bool
	// bound is the number of bytes that can come at most: the size of a plain file, and
	// what the file may unpack to otherwise.
	bound int64
}

// deflateRatio is the largest factor by which deflate can expand its input
// (258 bytes from two bits).
const deflateRatio = 1032

// open opens the file in dir, plain or gzipped.
func open(dir, file string) (*source, error) {
	path := find(dir, file)
	if path == "" {
		return nil, fmt.Errorf("images: %s: want %s[.gz], got no such file", dir, file)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: want a regular file, got a %s", path, kind(info.Mode()))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("images: %w", err)
	}
	s := &source{path: path, file: f, r: bufio.NewReaderSize(f, 1<<16), bound: info.Size()}
	if filepath.Ext(path) == ".gz" {
		s.packed = true
		s.bound *= deflateRatio
		if s.r, err = gzip.NewReader(s.r); err != nil {
			f.Close()
			return nil, s.explain(err)
		}
	}
	return s, nil
}

func kind(m os.FileMode) string {
	if m.IsDir() {
		return "directory"
	}
	return "special file"
}

func (s *source) close() { s.file.Close() }

// explain words an error of the reader.
func (s *source) explain(err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("images: %s: want a whole gzip stream, got a truncated one", s.path)
	case errors.Is(err, gzip.ErrHeader):
		return fmt.Errorf("images: %s: want a gzip stream, got something else", s.path)
	case errors.Is(err, gzip.ErrChecksum), errors.As(err, &corrupt):
		return fmt.Errorf("images: %s: want a sound gzip stream, got a corrupt one (%v)", s.path, err)
	}
	return fmt.Errorf("images: %s: %w", s.path, err)
}

// chunk is how much is read, and allocated, at a time.
const chunk = 1 << 18

// read reads up to n bytes and returns the first keep of them and the number
// that came, which is less than n only at the end of the file.
func (s *source) read(n, keep int64) (kept []byte, got int64, err error) {
	buf := make([]byte, min(n, chunk))
	for got < n {
		k, err := io.ReadFull(s.r, buf[:min(n-got, chunk)])
		if room := keep - got; room > 0 {
			kept = append(kept, buf[:min(int64(k), room)]...)
		}
		got += int64(k)
		if err == io.EOF || err == io.ErrUnexpectedEOF && !s.truncated() {
			return kept, got, nil
		}
		if err != nil {
			return kept, got, s.explain(err)
		}
	}
	return kept, got, nil
}

// truncated tells whether an unexpected end is that of the gzip stream and not of what
// was packed: only then does the next read repeat it.
func (s *source) truncated() bool {
	if !s.packed {
		return false
	}
	_, err := s.r.Read(make([]byte, 1))
	return err == io.ErrUnexpectedEOF
}
