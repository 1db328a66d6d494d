// SPDX-License-Identifier: Apache-2.0

package images

import (
	"encoding/binary"
	"fmt"
	"math"
)

// idxFiles names the files of the training and the test part (LeCun, Cortes
// and Burges, "The MNIST database of handwritten digits").
var idxFiles = [2]struct{ images, labels string }{
	{"train-images-idx3-ubyte", "train-labels-idx1-ubyte"},
	{"t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"},
}

// The magic numbers of idx files of unsigned bytes, with 3 and 1 dimensions.
const (
	idxImages = 0x00000803
	idxLabels = 0x00000801
)

const (
	idxClasses = 10
	idxSide    = 4096 // the largest height and width taken for an image
)

// idx is the format of MNIST.
type idx struct{}

func (idx) load(dir *fileset, name string, keep [2]int) (*Set, error) {
	set := &Set{Name: name, Channels: 1}
	for c := range idxClasses {
		set.Classes = append(set.Classes, fmt.Sprint(c))
	}
	var parts [2]raw
	for i, f := range idxFiles {
		h, w, err := parts[i].readIDX(dir, f.images, f.labels, keep[i])
		if err != nil {
			return nil, err
		}
		if i > 0 && (h != set.Height || w != set.Width) {
			return nil, fmt.Errorf("images: %s: want images of %dx%d as in the training part, got %dx%d", dir.files[key(f.images)].path, set.Height, set.Width, h, w)
		}
		set.Height, set.Width = h, w
	}
	set.normalise(parts[0], parts[1])
	return set, nil
}

// readIDX reads the first keep images and labels of a part.
func (r *raw) readIDX(dir *fileset, images, labels string, keep int) (height, width int, err error) {
	pixels, dims, imagesPath, err := readIDXFile(dir, images, idxImages, keep)
	if err != nil {
		return 0, 0, err
	}
	r.pixels = pixels
	ls, n, labelsPath, err := readIDXFile(dir, labels, idxLabels, keep)
	if err != nil {
		return 0, 0, err
	}
	r.labels = ls
	if n[0] != dims[0] {
		return 0, 0, fmt.Errorf("images: %s: want %d labels, one for each image of %s, got %d", labelsPath, dims[0], imagesPath, n[0])
	}
	return dims[1], dims[2], checkLabels(labelsPath, ls, 0, idxClasses)
}

// readIDXFile checks a whole file and returns the bytes of the first keep entries, and the
// dimensions its header gives.
func readIDXFile(dir *fileset, file string, magic uint32, keep int) (data []byte, dims []int, path string, err error) {
	s, err := dir.open(file)
	if err != nil {
		return nil, nil, "", err
	}
	defer s.close()
	rank := int64(magic & 0xff)
	header := 4 + 4*rank
	head, got, err := s.read(header, header)
	if err != nil {
		return nil, nil, "", err
	}
	if got >= 4 {
		if m := binary.BigEndian.Uint32(head); m != magic {
			return nil, nil, "", fmt.Errorf("images: %s: want the magic number %#08x, got %#08x%s", s.path, magic, m, s.foreign())
		}
	}
	if got < header {
		return nil, nil, "", fmt.Errorf("images: %s: want a header of %d bytes, got a file of %d%s", s.path, header, got, s.foreign())
	}
	entry := int64(1) // bytes an image or a label
	for i := range rank {
		d := int64(binary.BigEndian.Uint32(head[4+4*i:]))
		if i > 0 {
			if d < 1 || d > idxSide {
				return nil, nil, "", fmt.Errorf("images: %s: want images of sides 1..%d, got a header with %d", s.path, idxSide, d)
			}
			entry *= d
		}
		dims = append(dims, int(d))
	}
	if dims[0] < 1 {
		return nil, nil, "", fmt.Errorf("images: %s: want at least one entry, got a header with 0", s.path)
	}
	total := int64(dims[0]) * entry
	if total > s.bound-header {
		return nil, nil, "", fmt.Errorf("images: %s: want %d bytes after the header (%d entries of %d), got a file that cannot hold more than %d", s.path, total, dims[0], entry, max(0, s.bound-header))
	}
	keeping := int64(math.MaxInt64)
	if int64(keep) < int64(dims[0]) {
		keeping = int64(keep) * entry
	}
	data, got, err = s.read(total, keeping)
	if err != nil {
		return nil, nil, "", err
	}
	if got < total {
		return nil, nil, "", fmt.Errorf("images: %s: want %d bytes after the header (%d entries of %d), got %d", s.path, total, dims[0], entry, got)
	}
	_, more, err := s.read(1, 0)
	if err != nil {
		return nil, nil, "", err
	}
	if more > 0 {
		return nil, nil, "", fmt.Errorf("images: %s: want %d bytes after the header (%d entries of %d), got more", s.path, total, dims[0], entry)
	}
	return data, dims, s.path, nil
}
