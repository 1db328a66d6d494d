// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/disk"
)

func TestSeriesKeepsTheLast(t *testing.T) {
	r := fresh(t)
	for keep, want := range map[int][]string{
		0: {"checkpoint-00000004.safetensors", "checkpoint-00000005.safetensors"},
		1: {"checkpoint-00000005.safetensors"},
		9: {"checkpoint-00000001.safetensors", "checkpoint-00000002.safetensors", "checkpoint-00000003.safetensors", "checkpoint-00000004.safetensors", "checkpoint-00000005.safetensors"},
	} {
		s := Series{Dir: t.TempDir(), Keep: keep}
		bystanders := []string{"checkpoint-1.safetensors", "checkpoint-x.safetensors", "checkpoint-00000009.txt", ".checkpoint-.tmp-1"}
		for _, name := range bystanders {
			require.NoError(t, os.WriteFile(filepath.Join(s.Dir, name), nil, 0o666))
		}
		left := filepath.Join(s.Dir, ".checkpoint-00000001.safetensors.tmp-0123456789abcdef")
		require.NoError(t, os.WriteFile(left, nil, 0o666))
		for range 5 {
			_, err := s.Save(r.model, nil, nil)
			require.NoError(t, err)
		}
		names, err := disk.OS{}.List(s.Dir)
		require.NoError(t, err)
		assert.ElementsMatch(t, append(slices.Clone(want), bystanders...), names)
		path, damaged, err := Latest(s.Dir)
		require.NoError(t, err)
		assert.Empty(t, damaged)
		assert.Equal(t, filepath.Join(s.Dir, want[len(want)-1]), path)
	}
}

// The newest that is whole is found, and what is wrong with the others is told.
func TestSeriesGoesBack(t *testing.T) {
	s := Series{Dir: t.TempDir(), Keep: 3}
	r := fresh(t)
	_, _, err := s.Latest()
	assert.ErrorIs(t, err, fs.ErrNotExist)
	var paths []string
	for i := range 3 {
		r.loop.Epoch = i
		path, err := s.Save(r.model, r.solver, r.loop)
		require.NoError(t, err)
		paths = append(paths, path)
	}
	require.NoError(t, os.Truncate(paths[2], 100))
	b, err := os.ReadFile(paths[1])
	require.NoError(t, err)
	b[len(b)-1] ^= 4
	require.NoError(t, os.WriteFile(paths[1], b, 0o666))

	path, damaged, err := Latest(s.Dir)
	require.NoError(t, err)
	assert.Equal(t, paths[0], path)
	require.Len(t, damaged, 2)
	assert.ErrorIs(t, damaged[0], ErrDamaged)
	assert.ErrorContains(t, damaged[0], paths[2])
	assert.ErrorContains(t, damaged[0], "header")
	assert.ErrorIs(t, damaged[1], ErrDamaged)
	assert.ErrorContains(t, damaged[1], "checksum")

	require.NoError(t, os.Remove(paths[0]))
	path, damaged, err = s.Load(r.model, r.solver, &r.loop)
	assert.ErrorIs(t, err, fs.ErrNotExist)
	assert.ErrorIs(t, err, ErrDamaged)
	for _, d := range damaged {
		assert.ErrorContains(t, err, d.Error())
	}
	assert.NotContains(t, err.Error(), "\n")
	assert.Len(t, damaged, 2)
	assert.Empty(t, path)
}

// A name for the newest that is one of the numbered, or in another folder, is refused: it would be lost.
func TestSeriesRefusesLast(t *testing.T) {
	r := fresh(t)
	s := Series{Dir: t.TempDir()}
	path, err := s.Save(r.model, nil, nil)
	require.NoError(t, err)
	for _, s.Last = range []string{"checkpoint-00000001.safetensors", "checkpoint-00000002.safetensors", "sub/last", "../last"} {
		_, err := s.Save(r.model, nil, nil)
		assert.ErrorContains(t, err, fmt.Sprintf("Series.Last: want the name of a file that does not begin with \"checkpoint-\", got %q", s.Last))
		_, _, err = s.Latest()
		assert.ErrorContains(t, err, "Series.Last")
	}
	require.NoError(t, Check(path))
	names, err := disk.OS{}.List(s.Dir)
	require.NoError(t, err)
	assert.Len(t, names, 1)
}

// With Last the newest has a name of its own, and gets its number when the next is saved.
func TestSeriesNamesTheLast(t *testing.T) {
	r := fresh(t)
	s := Series{Dir: t.TempDir(), Keep: 3, Last: "last.safetensors"}
	names := func() (n []string) {
		paths, err := s.Paths()
		require.NoError(t, err)
		for _, p := range paths {
			n = append(n, filepath.Base(p))
		}
		return n
	}
	assert.Empty(t, names())
	for range 5 {
		path, err := s.Save(r.model, nil, nil)
		require.NoError(t, err)
		assert.Equal(t, filepath.Join(s.Dir, "last.safetensors"), path)
	}
	assert.Equal(t, []string{"last.safetensors", "checkpoint-00000004.safetensors", "checkpoint-00000003.safetensors"}, names())

	// A damaged one does not count, and goes when it is older than those that do.
	require.NoError(t, os.Truncate(filepath.Join(s.Dir, "last.safetensors"), 10))
	path, damaged, err := s.Latest()
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(s.Dir, "checkpoint-00000004.safetensors"), path)
	assert.Len(t, damaged, 1)
	for i, want := range [][]string{
		{"last.safetensors", "checkpoint-00000005.safetensors", "checkpoint-00000004.safetensors", "checkpoint-00000003.safetensors"},
		{"last.safetensors", "checkpoint-00000006.safetensors", "checkpoint-00000005.safetensors", "checkpoint-00000004.safetensors"},
		{"last.safetensors", "checkpoint-00000007.safetensors", "checkpoint-00000006.safetensors"},
	} {
		_, err := s.Save(r.model, nil, nil)
		require.NoError(t, err)
		assert.Equal(t, want, names(), "after %d", i)
	}
}

// A link named Last is renamed as it is, and what it leads to stays.
func TestSeriesRenamesLinks(t *testing.T) {
	r := fresh(t)
	s := Series{Dir: t.TempDir(), Last: "last.safetensors"}
	path, err := s.Save(r.model, nil, nil)
	require.NoError(t, err)
	away := filepath.Join(t.TempDir(), "away")
	require.NoError(t, os.Rename(path, away))
	if err := os.Symlink(away, path); err != nil {
		t.Skip(err)
	}
	before, err := os.Stat(away)
	require.NoError(t, err)
	_, err = s.Save(r.model, nil, nil)
	require.NoError(t, err)
	after, err := os.Stat(s.path(1))
	require.NoError(t, err)
	assert.True(t, os.SameFile(before, after))
	require.NoError(t, Check(path))
}
