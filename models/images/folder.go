// SPDX-License-Identifier: Apache-2.0

package images

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	slashpath "path"
	"path/filepath"
	"strings"

	"github.com/kernelfold/kernelfold/internal/files"
)

// folder is files that may be those of a set, by their names: a folder on disk or in a tar archive.
type folder struct {
	path  string
	files map[string]entry // by key
}

// entry is a file of a folder.
type entry struct {
	path string
	data []byte // what it holds, if it comes out of an archive
}

// key is what is the same in all names that a file goes by: train-images-idx3-ubyte and train-images.idx3-ubyte.gz.
func key(name string) string {
	name, _ = strings.CutSuffix(strings.ToLower(name), ".gz")
	return strings.NewReplacer(".", "-", "_", "-").Replace(name)
}

// setFiles are the keys of all files of sets.
var setFiles = func() map[string]bool {
	keys := map[string]bool{}
	for _, f := range idxFiles {
		keys[key(f.images)], keys[key(f.labels)] = true, true
	}
	for _, f := range []cifar{cifar10, cifar100} {
		for _, name := range append([]string{f.test}, f.train...) {
			keys[key(name)] = true
		}
	}
	return keys
}()

// add takes a file under its key, if it belongs to a set. Of a file that is there plain and packed, the plain one counts.
func (f *folder) add(name string, e entry) {
	k := key(name)
	if !setFiles[k] {
		return
	}
	if old, ok := f.files[k]; !ok || strings.HasSuffix(old.path, ".gz") {
		f.files[k] = e
	}
}

// find returns the file of a name.
func (f *folder) find(name string) (entry, bool) {
	e, ok := f.files[key(name)]
	return e, ok
}

// open opens the file of a name.
func (f *folder) open(name string) (*source, error) {
	e, ok := f.find(name)
	if !ok {
		return nil, fmt.Errorf("images: %s: want %s[.gz], got no such file", f.path, name)
	}
	return e.open()
}

// formats returns those whose files are there.
func (f *folder) formats() (list []format) {
	if _, ok := f.find(idxFiles[0].images); ok {
		list = append(list, idx{})
	}
	for _, c := range []cifar{cifar10, cifar100} {
		if len(c.here(f)) > 0 {
			list = append(list, c)
		}
	}
	return list
}

// format is a way in which a set is distributed.
type format interface {
	load(f *folder, name string, keep [2]int) (*Set, error)
}

// Where Load looks.
const (
	maxDepth   = 3    // of folders in folders
	maxFolders = 1000 // looked into
)

// search finds the folder, dir or one in it, that holds a set, or else the archive.
func search(dir string) (*folder, error) {
	var found []*folder
	var archives []string
	python := "" // the path of the Python version
	level := []string{dir}
	for depth, seen := 0, 0; depth <= maxDepth && len(level) > 0 && len(found) == 0; depth++ {
		var next []string
		for _, d := range level {
			if seen++; seen > maxFolders {
				break
			}
			f, err := list(d)
			switch {
			case err != nil && depth == 0:
				return nil, fmt.Errorf("images: %w", err)
			case err != nil:
				continue // one that may not be read is not the one
			case len(f.formats()) > 0 && depth == 0:
				return f.folder, nil
			case len(f.formats()) > 0:
				found = append(found, f.folder)
			}
			next, archives, python = append(next, f.inside...), append(archives, f.archives...), cmp.Or(python, f.python)
		}
		level = next
	}
	switch {
	case len(found)+len(archives) > 1:
		for _, f := range found {
			archives = append(archives, f.path)
		}
		return nil, fmt.Errorf("images: %s: want one set of images, got %s", dir, strings.Join(archives, " and "))
	case len(found) == 1:
		return found[0], nil
	case len(archives) == 1:
		return unpack(archives[0])
	case python != "":
		return nil, errPython(python)
	}
	return nil, fmt.Errorf("images: %s: want %s[.gz] (MNIST, Fashion-MNIST), %s[.gz] (CIFAR-10) or %s[.gz] (CIFAR-100), or the archive of CIFAR, got none of them",
		dir, idxFiles[0].images, cifar10.train[0], cifar100.train[0])
}

func errPython(path string) error {
	return fmt.Errorf("images: %s: want the binary version of CIFAR, cifar-10-binary.tar.gz or cifar-100-binary.tar.gz, got the Python version", path)
}

// archives are those that are distributed, with the folders in them.
var archives = map[string]string{"cifar-10-binary.tar": "cifar-10-batches-bin", "cifar-100-binary.tar": "cifar-100-binary"}

// listing is what there is in a folder on disk.
type listing struct {
	*folder
	inside   []string // folders
	archives []string // that are not unpacked beside themselves
	python   string   // a file of the Python version
}

func list(dir string) (*listing, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	l := &listing{folder: &folder{path: dir, files: map[string]entry{}}}
	for _, n := range names {
		p := filepath.Join(dir, n.Name())
		l.add(n.Name(), entry{path: p})
		name := strings.TrimSuffix(n.Name(), ".gz")
		unpacked, isArchive := archives[name]
		switch {
		case isDir(p): // or a link to one
			if !strings.HasPrefix(n.Name(), ".") {
				l.inside = append(l.inside, p)
			}
		case isArchive:
			if !isDir(filepath.Join(dir, unpacked)) {
				l.archives = append(l.archives, p)
			}
		case name == "cifar-10-python.tar", name == "cifar-100-python.tar", isPython(name) && kindOf(p) == pickle:
			l.python = p
		}
	}
	return l, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// pickle is what files calls it.
const pickle = "a Python pickle"

// isPython reports whether a file of that name belongs to the Python version of CIFAR, if it is a pickle.
func isPython(name string) bool { return strings.HasPrefix(name, "data_batch_") || name == "train" }

// kindOf names the format of a file, or returns "".
func kindOf(path string) string {
	f, _, err := files.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	return files.KindOf(f)
}

// unpack reads the files of a set out of a tar archive, which may be gzipped. Its memory is bounded by maxBytes.
func unpack(path string) (*folder, error) {
	s, err := (entry{path: path}).open()
	if err != nil {
		return nil, err
	}
	defer s.close()
	head, err := s.r.Peek(headBytes)
	if err != nil && err != io.EOF {
		return nil, s.explain(err)
	}
	if !files.IsTar(head) {
		return nil, fmt.Errorf("images: %s: want a folder or a tar archive with a set of images, got %s", path, orElse(files.Kind(head)))
	}
	f := &folder{path: path, files: map[string]entry{}}
	limited := &io.LimitedReader{R: s.r, N: s.bound + 1}
	failed := func(err error) error {
		if limited.N == 0 {
			return s.tooLong()
		}
		return s.explain(err)
	}
	for r := tar.NewReader(limited); ; {
		h, err := r.Next()
		if err == io.EOF && limited.N > 0 {
			break
		}
		if err != nil {
			return nil, failed(err)
		}
		name := slashpath.Base(h.Name)
		if h.Typeflag != tar.TypeReg || !setFiles[key(name)] && !isPython(name) {
			continue
		}
		var b bytes.Buffer
		if _, err := io.Copy(&b, r); err != nil {
			return nil, failed(err)
		}
		if isPython(name) && files.Kind(b.Bytes()[:min(headBytes, b.Len())]) == pickle {
			return nil, errPython(path)
		}
		f.add(name, entry{path + ":" + h.Name, append([]byte{}, b.Bytes()...)})
	}
	if len(f.formats()) == 0 {
		return nil, fmt.Errorf("images: %s: want an archive with %s or %s in it, got neither", path, cifar10.train[0], cifar100.train[0])
	}
	return f, nil
}

// headBytes is how much of a file shows what it is.
const headBytes = 512

// orElse names what is of no known format.
func orElse(kind string) string {
	if kind == "" {
		return "something else"
	}
	return kind
}

// source is a file being read, unpacked if it is gzipped.
type source struct {
	path   string
	file   io.Closer
	r      *bufio.Reader
	packed bool
	begun  bool   // something was unpacked
	kind   string // what the file is, as far as its beginning tells
	// bound is the number of bytes that can come at most: the size of a plain file, and
	// what the file may unpack to otherwise.
	bound int64
}

// What is read of a file at most. Images pack to a tenth or so; a gzip stream can hold a thousand times its size in zeros.
const (
	maxBytes   = 1 << 30
	packing    = 100     // to which part of its size a file is packed at most
	freeToPack = 1 << 20 // bytes for which that does not matter
)

// open opens a file, plain or gzipped, whatever its name says.
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
	head, _ := s.r.Peek(headBytes) // an error comes again
	s.kind = files.Kind(head)
	if s.bound > maxBytes {
		s.close()
		return nil, fmt.Errorf("images: %s: want at most %d MiB, got %d", s.path, maxBytes>>20, s.bound>>20)
	}
	return s, nil
}

func (s *source) close() { s.file.Close() }

// foreign says what the file is if that is known.
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

// explain words an error of the reader.
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
