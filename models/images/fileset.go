// SPDX-License-Identifier: Apache-2.0

package images

import (
	"archive/tar"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"os"
	slashpath "path"
	"path/filepath"
	"strings"

	"github.com/kernelfold/kernelfold/internal/files"
)

// fileset holds files that may belong to a set, judging by their names: those of a folder on disk or in a tar archive.
type fileset struct {
	path  string
	files map[string]entry // by key
}

// entry is a file of a folder.
type entry struct {
	path string
	data []byte // its content, if it comes from an archive
}

// key returns what all names of the same file have in common: train-images-idx3-ubyte and train-images.idx3-ubyte.gz.
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

// add takes a file under its key, if it belongs to a set. If a file exists both plain and packed, the plain one is used.
func (f *fileset) add(name string, e entry) {
	k := key(name)
	if !setFiles[k] {
		return
	}
	if old, ok := f.files[k]; !ok || strings.HasSuffix(old.path, ".gz") {
		f.files[k] = e
	}
}

// find returns the file of a name.
func (f *fileset) find(name string) (entry, bool) {
	e, ok := f.files[key(name)]
	return e, ok
}

// open opens the file of a name.
func (f *fileset) open(name string) (*source, error) {
	e, ok := f.find(name)
	if !ok {
		return nil, fmt.Errorf("images: %s: want %s[.gz], got no such file", f.path, name)
	}
	return e.open()
}

// formats returns the formats whose files are present.
func (f *fileset) formats() (list []format) {
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
	load(f *fileset, name string, keep [2]int) (*Set, error)
}

// Where Load looks.
const (
	maxDepth   = 3    // of folders in folders
	maxFolders = 1000 // looked into
)

// search finds the folder, dir or one in it, that holds a set, or else the archive.
func search(dir string) (*fileset, error) {
	var found []*fileset
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
				continue // a folder without permission to read is skipped
			case len(f.formats()) > 0 && depth == 0:
				return f.fileset, nil
			case len(f.formats()) > 0:
				found = append(found, f.fileset)
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

// archives are the archives as distributed, with the folders in them.
var archives = map[string]string{"cifar-10-binary.tar": "cifar-10-batches-bin", "cifar-100-binary.tar": "cifar-100-binary"}

// listing is the relevant content of a folder on disk.
type listing struct {
	*fileset
	inside   []string // folders
	archives []string // that have not been unpacked beside themselves
	python   string   // a file of the Python version
}

func list(dir string) (*listing, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	l := &listing{fileset: &fileset{path: dir, files: map[string]entry{}}}
	for _, n := range names {
		p := filepath.Join(dir, n.Name())
		if leadsToDir(n, p) {
			if !strings.HasPrefix(n.Name(), ".") {
				l.inside = append(l.inside, p)
			}
			continue
		}
		l.add(n.Name(), entry{path: p})
		name := strings.TrimSuffix(n.Name(), ".gz")
		unpacked, isArchive := archives[name]
		switch {
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

// leadsToDir reports whether an entry is a folder or a link to one. Only links need a look at the disk.
func leadsToDir(e fs.DirEntry, path string) bool {
	return e.IsDir() || e.Type()&fs.ModeSymlink != 0 && isDir(path)
}

// pickle is the name of the format in package files.
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
func unpack(path string) (*fileset, error) {
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
		return nil, fmt.Errorf("images: %s: want a folder or a tar archive with a set of images, got %s", path, cmp.Or(files.Kind(head), "something else"))
	}
	f := &fileset{path: path, files: map[string]entry{}}
	limited := &io.LimitedReader{R: s.r, N: s.bound + 1}
	failed := func(err error) error {
		if limited.N == 0 {
			return s.tooLong()
		}
		return s.explain(err)
	}
	room := s.bound // for the contents: the holes of a sparse file are zeros that are not in the archive
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
		n, err := io.Copy(&b, io.LimitReader(r, room+1))
		if err != nil {
			return nil, failed(err)
		}
		if room -= n; room < 0 {
			return nil, s.tooLong()
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
