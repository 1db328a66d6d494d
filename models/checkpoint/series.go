// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kernelfold/kernelfold/models"
)

// Series is a folder of numbered checkpoints, "checkpoint-00000001.safetensors" and so on,
// of which the last few are kept: if one is damaged later, the one before is still there.
type Series struct {
	Dir  string // a folder that exists
	Keep int    // how many are kept, 2 if it is 0
}

const (
	seriesPrefix = "checkpoint-"
	seriesSuffix = ".safetensors"
)

// Save writes the next checkpoint, as the function Save does, and then removes those that are
// not to be kept. If only the removal fails, the path is returned beside the error.
func (s Series) Save(m *models.Model, solver Solver, loop any) (path string, err error) {
	return s.save(osDisk{}, m, solver, loop)
}

func (s Series) save(d disk, m *models.Model, solver Solver, loop any) (string, error) {
	if s.Keep < 0 {
		return "", fmt.Errorf("checkpoint: want a positive number of checkpoints to keep, got %d", s.Keep)
	}
	numbers, err := s.numbers(d)
	if err != nil {
		return "", err
	}
	next := uint64(1)
	if len(numbers) > 0 {
		if next = numbers[0] + 1; next == 0 {
			return "", fmt.Errorf("checkpoint: want a number less than %d, got %s", uint64(math.MaxUint64), s.path(numbers[0]))
		}
	}
	if err := sweep(d, s.Dir, seriesPrefix); err != nil {
		return "", fmt.Errorf("checkpoint: %w", err)
	}
	path := s.path(next)
	if err := save(d, path, m, solver, loop); err != nil {
		return "", err
	}
	keep := s.Keep
	if keep == 0 {
		keep = 2
	}
	for _, n := range numbers[min(keep-1, len(numbers)):] {
		if err := d.remove(s.path(n)); err != nil {
			return path, fmt.Errorf("checkpoint: %w", err)
		}
	}
	return path, nil
}

// Load loads the newest whole checkpoint and returns its path, and what is wrong with those
// that are newer. A whole one that does not match is an error.
func (s Series) Load(m *models.Model, solver Solver, loop any) (path string, damaged []error, err error) {
	if path, damaged, err = s.Latest(); err != nil {
		return "", damaged, err
	}
	return path, damaged, Load(path, m, solver, loop)
}

// Latest returns the path of the newest whole checkpoint, and what is wrong with those that
// are newer. If none is whole the error has fs.ErrNotExist in its chain.
func (s Series) Latest() (path string, damaged []error, err error) {
	numbers, err := s.numbers(osDisk{})
	if err != nil {
		return "", nil, err
	}
	for _, n := range numbers {
		err := Check(s.path(n))
		if err == nil {
			return s.path(n), damaged, nil
		}
		damaged = append(damaged, err)
	}
	return "", damaged, errors.Join(append([]error{fmt.Errorf("checkpoint: want a whole checkpoint in %s, got none: %w", s.Dir, fs.ErrNotExist)}, damaged...)...)
}

// Latest returns the path of the newest whole checkpoint of a Series in a folder, and what is wrong
// with those that are newer.
func Latest(dir string) (path string, damaged []error, err error) { return Series{Dir: dir}.Latest() }

func (s Series) path(number uint64) string {
	return filepath.Join(s.Dir, fmt.Sprintf("%s%08d%s", seriesPrefix, number, seriesSuffix))
}

// numbers lists the checkpoints that are there, the newest first.
func (s Series) numbers(d disk) ([]uint64, error) {
	names, err := d.list(s.Dir)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	var numbers []uint64
	for _, name := range names {
		digits, ok := strings.CutPrefix(name, seriesPrefix)
		if !ok {
			continue
		}
		if digits, ok = strings.CutSuffix(digits, seriesSuffix); !ok {
			continue
		}
		if n, err := strconv.ParseUint(digits, 10, 64); err == nil && filepath.Base(s.path(n)) == name {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	slices.Reverse(numbers)
	return numbers, nil
}
