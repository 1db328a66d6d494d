// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kernelfold/kernelfold/internal/disk"
)

// Series is a folder of numbered checkpoints, "checkpoint-00000001.safetensors" and so on,
// of which the last few are kept, so that an older one is left if the newest is damaged.
type Series struct {
	Dir  string // a folder that exists
	Keep int    // the number of whole ones that are kept, 2 if it is 0
	// Last, unless it is empty, is the name of the newest checkpoint, which is renamed to its number when the
	// next is saved. It must not begin with "checkpoint-".
	Last string
}

const (
	seriesPrefix = "checkpoint-"
	seriesSuffix = ".safetensors"
)

// Save writes the next checkpoint, as the function Save does, and then removes those that are not to be kept.
// A damaged one is not counted, and is removed together with the older whole ones. If only the removal fails,
// the path is returned together with the error.
func (s Series) Save(m Stateful, solver Solver, loop any) (path string, err error) {
	return s.save(disk.OS{}, m, solver, loop)
}

func (s Series) save(d disk.Disk, m Stateful, solver Solver, loop any) (string, error) {
	if s.Keep < 0 {
		return "", fmt.Errorf("checkpoint: want a positive number of checkpoints to keep, got %d", s.Keep)
	}
	numbers, last, err := s.list(d)
	if err != nil {
		return "", err
	}
	next := uint64(1)
	if len(numbers) > 0 {
		if next = numbers[0] + 1; next == 0 {
			return "", fmt.Errorf("checkpoint: want a number less than %d, got %s", uint64(math.MaxUint64), s.path(numbers[0]))
		}
	}
	if err := disk.Sweep(d, s.Dir, seriesPrefix); err != nil {
		return "", fmt.Errorf("checkpoint: %w", err)
	}
	path := s.path(next)
	if s.Last != "" {
		path = filepath.Join(s.Dir, s.Last)
	}
	staged, err := stage(d, s.path(next), m, solver, loop) // not at Last: what is there, perhaps a link, is to be renamed
	if err != nil {
		return "", err
	}
	if last {
		if err := d.Rename(path, s.path(next)); err != nil {
			staged.Discard()
			return "", fmt.Errorf("checkpoint: %w", err)
		}
		numbers = append([]uint64{next}, numbers...)
	}
	if err := staged.CommitTo(path); err != nil {
		return "", fmt.Errorf("checkpoint: save %s: %w", path, err)
	}
	return path, s.prune(d, numbers)
}

// prune removes the checkpoints that are older than those to be kept, given that one has just been saved.
func (s Series) prune(d disk.Disk, numbers []uint64) error {
	left := s.Keep - 1
	if s.Keep == 0 {
		left = 1
	}
	for _, n := range numbers {
		if left == 0 {
			if err := d.Remove(s.path(n)); err != nil {
				return fmt.Errorf("checkpoint: %w", err)
			}
		} else if Check(s.path(n)) == nil {
			left--
		}
	}
	return nil
}

// Load loads the newest whole checkpoint and returns its path, and the errors of newer, damaged ones. It fails if the newest whole checkpoint does
// not match.
func (s Series) Load(m Stateful, solver Solver, loop any) (path string, damaged []error, err error) {
	if path, damaged, err = s.Latest(); err != nil {
		return "", damaged, err
	}
	return path, damaged, Load(path, m, solver, loop)
}

// Latest returns the path of the newest whole checkpoint, and the errors of newer, damaged ones. If none is whole, the error wraps fs.ErrNotExist.
func (s Series) Latest() (path string, damaged []error, err error) {
	paths, err := s.Paths()
	if err != nil {
		return "", nil, err
	}
	for _, path := range paths {
		err := Check(path)
		if err == nil {
			return path, damaged, nil
		}
		damaged = append(damaged, err)
	}
	err = fmt.Errorf("checkpoint: want a whole checkpoint in %s, got none: %w", s.Dir, fs.ErrNotExist)
	for _, d := range damaged {
		err = fmt.Errorf("%w; %w", err, d)
	}
	return "", damaged, err
}

// Latest returns the path of the newest whole checkpoint of a Series in a folder, and the errors of newer, damaged ones.
func Latest(dir string) (path string, damaged []error, err error) { return Series{Dir: dir}.Latest() }

// Paths returns the paths of the checkpoints, whole or damaged, the newest first.
func (s Series) Paths() ([]string, error) {
	numbers, last, err := s.list(disk.OS{})
	if err != nil {
		return nil, err
	}
	var paths []string
	if last {
		paths = append(paths, filepath.Join(s.Dir, s.Last))
	}
	for _, n := range numbers {
		paths = append(paths, s.path(n))
	}
	return paths, nil
}

func (s Series) path(number uint64) string {
	return filepath.Join(s.Dir, fmt.Sprintf("%s%08d%s", seriesPrefix, number, seriesSuffix))
}

// list returns the numbers of the existing checkpoints, the newest first, and whether there is one named Last.
func (s Series) list(d disk.Disk) (numbers []uint64, last bool, err error) {
	if s.Last != "" && (strings.HasPrefix(s.Last, seriesPrefix) || filepath.Base(s.Last) != s.Last) {
		return nil, false, fmt.Errorf("checkpoint: Series.Last: want the name of a file that does not begin with %q, got %q", seriesPrefix, s.Last)
	}
	names, err := d.List(s.Dir)
	if err != nil {
		return nil, false, fmt.Errorf("checkpoint: %w", err)
	}
	for _, name := range names {
		last = last || s.Last != "" && name == s.Last
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
	return numbers, last, nil
}
