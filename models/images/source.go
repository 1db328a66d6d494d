// SPDX-License-Identifier: Apache-2.0

package images

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/kernelfold/kernelfold/internal/files"
)

// source is a file being read, unpacked if it is gzipped.
type source struct {
	path   string
	file   io.Closer
	r      *bufio.Reader
	packed bool
	begun  bool   // some bytes have been unpacked
	kind   string // what the file is, as far as its beginning shows
	// bound is the number of bytes that can come at most: the size of a plain file, and
	// what the file may unpack to otherwise.
	bound int64
}

// headBytes is the number of bytes from which the format of a file is recognised.
const headBytes = 512

// Limits of what is read of a file. Images can be packed to about a tenth of their size; a gzip stream can hold a thousand times its size in zeros.
const (
	maxBytes   = 1 << 30
	packing    = 100     // the largest ratio of the size of a file to its packed size
	freeToPack = 1 << 20 // bytes up to which the ratio does not matter
)

// open opens a file, plain or gzipped, regardless of its name.
func (e entry) open() (*source, error) {
	s := &source{path: e.path, file: io.NopCloser(nil)}
	var r io.Reader = bytes.NewReader(e.data)
	s.bound = int64(len(e.data))
	if e.data == nil {
		f, size, err := files.Open(e.path)
		if err != nil {
			return nil, fmt.Errorf("images: %w", err)
		}
		s.file, r, s.bound = f, f, size
	}
	s.r = bufio.NewReaderSize(r, 1<<16)
	if head, _ := s.r.Peek(headBytes); files.IsGzip(head) {
		s.packed = true
		s.bound = min(maxBytes, max(freeToPack, packing*min(s.bound, maxBytes)))
		z, err := gzip.NewReader(s.r)
		if err != nil {
			s.close()
			return nil, s.explain(err)
		}
		s.r = bufio.NewReaderSize(z, 1<<16)
	}
	head, _ := s.r.Peek(headBytes) // the next read returns the error again
	s.kind = files.Kind(head)
	if s.bound > maxBytes {
		s.close()
		return nil, fmt.Errorf("images: %s: want at most %d MiB, got %d", s.path, maxBytes>>20, s.bound>>20)
	}
	return s, nil
}

func (s *source) close() { s.file.Close() }

// foreign names the format of the file if it is known.
func (s *source) foreign() string {
	if s.kind == "" {
		return ""
	}
	return ": this is " + s.kind
}

// tooLong is the error of a file with more bytes than bound.
func (s *source) tooLong() error {
	if !s.packed {
		return fmt.Errorf("images: %s: want at most %d bytes, got more", s.path, s.bound)
	}
	return fmt.Errorf("images: %s: want at most %d bytes in the gzip stream, %d for each of its own, got more: unpack it if it is sound", s.path, s.bound, packing)
}

// explain returns the error for an error of the reader.
func (s *source) explain(err error) error {
	switch {
	case !s.packed:
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("images: %s: want a whole file, got a truncated one", s.path)
		}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("images: %s: want a whole gzip stream, got a truncated one", s.path)
	case errors.Is(err, gzip.ErrHeader) && s.begun:
		return fmt.Errorf("images: %s: want nothing behind the gzip stream, got bytes that belong to none", s.path)
	default:
		if p := (*fs.PathError)(nil); !errors.As(err, &p) {
			return fmt.Errorf("images: %s: want a sound gzip stream, got a corrupt one (%v)", s.path, err)
		}
	}
	return fmt.Errorf("images: %s: %w", s.path, err)
}

// chunk is how much is read, and allocated, at a time.
const chunk = 1 << 18

// read reads up to n bytes and returns the first keep of them and the number
// that came, which is less than n only at the end of the file.
func (s *source) read(n, keep int64) (kept []byte, got int64, err error) {
	buf := make([]byte, min(n, chunk))
	if !s.packed { // the bytes are there
		kept = make([]byte, 0, min(n, keep, s.bound))
	}
	for got < n {
		k, err := io.ReadFull(s.r, buf[:min(n-got, chunk)])
		s.begun = s.begun || k > 0
		if room := min(int64(k), keep-got); room > 0 {
			if len(kept)+int(room) > cap(kept) { // twice as much, so that few copies become garbage
				kept = slices.Grow(kept, int(min(max(int64(len(kept)), chunk), n-int64(len(kept)))))
			}
			kept = append(kept, buf[:room]...)
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

// truncated reports whether an unexpected end is that of the gzip stream and not of its content: only then does the next read repeat it.
func (s *source) truncated() bool {
	if !s.packed {
		return false
	}
	_, err := s.r.Read(make([]byte, 1))
	return err == io.ErrUnexpectedEOF
}
