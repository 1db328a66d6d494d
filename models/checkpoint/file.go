// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/safetensors"
)

// The versions of the files that Save writes. It uses the first version that supports the model, because an
// older reader would misread files of a later version.
const (
	version1 = "1"
	version2 = "2" // shortcuts with channels of zeros around those of the input
)

func versionOf(m models.State) string {
	if m.Zeros() == models.ZerosAround {
		return version2
	}
	return version1
}

// The keys of the metadata.
const (
	formatKey     = "format" // "pt": shapes and names are PyTorch's
	versionKey    = "kernelfold.version"
	sumKey        = "kernelfold.sha256"
	noiseKey      = "kernelfold.noise"
	iterationsKey = "kernelfold.iterations" // only if there are power iterations
	solverKey     = "kernelfold.solver"
	loopKey       = "kernelfold.loop"
	zerosKey      = "kernelfold.zeros"
)

// The beginnings of the names of tensors.
const (
	modelPrefix  = "model/"
	solverPrefix = "solver/"
)

// noSum stands for the checksum while it is computed.
var noSum = strings.Repeat("0", hex.EncodedLen(sha256.Size))

// write writes the file. The checksum is that of the file with zeros in its place.
func (c *content) write(w io.Writer) error {
	metadata := maps.Clone(c.metadata)
	metadata[sumKey] = noSum
	sum := sha256.New()
	if err := safetensors.Write(sum, c.tensors, metadata); err != nil {
		return err
	}
	metadata[sumKey] = hex.EncodeToString(sum.Sum(nil))
	return safetensors.Write(w, c.tensors, metadata)
}

// writePlain writes a file that is not a checkpoint.
func (c *content) writePlain(w io.Writer) error { return safetensors.Write(w, c.tensors, c.metadata) }

// reading is a file that is being read.
type reading struct {
	*safetensors.Reader
	file       *os.File
	size       int64
	translated map[string]source // of a file of other names, or nil
}

func (f *reading) Close() error { return f.file.Close() }

// isCheckpoint reports whether Save has written the file.
func (f *reading) isCheckpoint() bool {
	_, is := f.MetadataValue(versionKey)
	return is
}

// verify checks version and checksum.
func (f *reading) verify() error {
	v, ok := f.MetadataValue(versionKey)
	if !ok {
		return fmt.Errorf("want a checkpoint, got a safetensors file without %q: see Import (%w)", versionKey, ErrForeign)
	}
	if v != version1 && v != version2 { // before the sum, which another version may compute differently
		return fmt.Errorf("want version %s or %s, got %q (%w)", version1, version2, v, ErrVersion)
	}
	written, _ := f.MetadataValue(sumKey)
	sum, err := f.sum(written)
	if err != nil {
		return err
	}
	if sum != written {
		return fmt.Errorf("want the checksum %s of the file, got %s (%w)", written, sum, ErrDamaged)
	}
	return nil
}

// sum computes the checksum of a file that contains the checksum written.
func (f *reading) sum(written string) (string, error) {
	header := make([]byte, f.DataOffset())
	if _, err := f.file.ReadAt(header, 0); err != nil {
		return "", err
	}
	place := func(s string) []byte { return fmt.Appendf(nil, "%q:%q", sumKey, s) }
	if len(written) != len(noSum) || bytes.Count(header, place(written)) != 1 {
		return "", fmt.Errorf("want a checksum of %d digits, once, got %q (%w)", len(noSum), written, ErrDamaged)
	}
	sum := sha256.New()
	sum.Write(bytes.Replace(header, place(written), place(noSum), 1))
	n, err := io.Copy(sum, io.NewSectionReader(f.file, f.DataOffset(), f.size-f.DataOffset()))
	if err == nil && n != f.size-f.DataOffset() {
		err = fmt.Errorf("want %d bytes, got %d (%w)", f.size, f.DataOffset()+n, ErrDamaged)
	}
	return hex.EncodeToString(sum.Sum(nil)), err
}
