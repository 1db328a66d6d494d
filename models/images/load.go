// SPDX-License-Identifier: Apache-2.0

package images

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// Load reads a set of images from path, a folder with the files of one of these or a tar archive of them:
//
//	MNIST, Fashion-MNIST  train-images-idx3-ubyte  train-labels-idx1-ubyte
//	                      t10k-images-idx3-ubyte   t10k-labels-idx1-ubyte
//	CIFAR-10 (binary)     data_batch_1.bin .. data_batch_5.bin, any of them; test_batch.bin
//	CIFAR-100 (binary)    train.bin  test.bin, with the 100 fine labels
//
// each plain or gzipped, with .gz appended or not, and with dots or hyphens in its name (train-images.idx3-ubyte); if a
// file exists both ways, the plain one is read. The files may lie up to three folders deeper, as in path/MNIST/raw, or
// in an archive in path under its name, cifar-10-binary.tar.gz or cifar-100-binary.tar.gz. More than one set is an
// error.
//
// A limit above 0 keeps the first limit training images and the
// first limit/5, rounded up, test images.
//
// The set is named after the folder or the archive. Memory is allocated as pixels arrive, never by what a header
// promises. A file of more than 1 GiB, or of more than a hundred times its size when it is unpacked, is an error.
func Load(path string, limit int) (*Set, error) {
	if limit < 0 {
		return nil, fmt.Errorf("images: limit: want 0 (all) or a number of images, got %d", limit)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	find := search
	if !info.IsDir() {
		find = unpack
	}
	f, err := find(path)
	if err != nil {
		return nil, err
	}
	formats := f.formats()
	if len(formats) > 1 {
		return nil, fmt.Errorf("images: %s: want one set of images, got files of several", f.path)
	}
	keep := [2]int{math.MaxInt, math.MaxInt}
	if limit > 0 {
		keep = [2]int{limit, limit/5 + min(1, limit%5)}
	}
	name := filepath.Base(path)
	if abs, err := filepath.Abs(path); err == nil {
		name = filepath.Base(abs)
	}
	if !info.IsDir() {
		name = strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".tar")
	}
	return formats[0].load(f, name, keep)
}
