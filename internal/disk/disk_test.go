// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/rerun"
)

func list(t *testing.T, dir string) []string {
	names, err := OS{}.List(dir)
	require.NoError(t, err)
	return names
}

// Faults at every operation are in the tests of models/checkpoint.
func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	left := filepath.Join(dir, ".file.tmp-0123456789abcdef")
	require.NoError(t, os.WriteFile(left, nil, 0o666))
	require.NoError(t, WriteFile(path, []byte("one")))
	assert.Equal(t, []string{"file"}, list(t, dir), "what a killed program left is gone")

	require.ErrorIs(t, Replace(OS{}, path, func(w io.Writer) error {
		_, _ = w.Write([]byte("two"))
		return io.ErrShortBuffer
	}), io.ErrShortBuffer)
	s, err := Stage(OS{}, path, func(w io.Writer) error {
		_, err := w.Write([]byte("two"))
		return err
	})
	require.NoError(t, err)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "one", string(b))
	assert.Len(t, list(t, dir), 2)
	require.NoError(t, s.Commit())
	b, err = os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "two", string(b))
	assert.Equal(t, []string{"file"}, list(t, dir))

	require.NoError(t, os.Mkdir(filepath.Join(dir, "folder"), 0o777))
	assert.Error(t, WriteFile(filepath.Join(dir, "folder"), nil))
	assert.Len(t, list(t, dir), 2)
}

// A link is followed, and the file that it leads to keeps its permissions.
func TestReplaceFollowsLinks(t *testing.T) {
	dir, away := t.TempDir(), t.TempDir()
	path, link := filepath.Join(away, "file"), filepath.Join(dir, "link")
	require.NoError(t, os.WriteFile(path, []byte("one"), 0o600))
	if err := os.Symlink(path, link); err != nil {
		t.Skip(err)
	}
	require.NoError(t, WriteFile(link, []byte("two")))
	at, err := os.Readlink(link)
	require.NoError(t, err)
	assert.Equal(t, path, at)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "two", string(b))
	assert.Equal(t, []string{"file"}, list(t, away))
	if runtime.GOOS != "windows" {
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.EqualValues(t, 0o600, info.Mode())
	}

	require.NoError(t, os.Remove(path))
	assert.ErrorIs(t, WriteFile(link, nil), os.ErrNotExist, "the link leads nowhere")
	assert.Equal(t, []string{"link"}, list(t, dir))

	none := func(io.Writer) error { return nil }
	s, err := Stage(OS{}, filepath.Join(dir, "other"), none)
	require.NoError(t, err)
	require.NoError(t, s.CommitTo(link))
	info, err := os.Lstat(link)
	require.NoError(t, err)
	assert.True(t, info.Mode().IsRegular())
}

// stale lists a temporary file that another process has just removed.
type stale struct{ OS }

func (stale) List(string) ([]string, error) { return []string{".file.tmp-0123456789abcdef"}, nil }

func TestSweepOfTwo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, Replace(stale{}, path, func(io.Writer) error { return nil }))
	assert.FileExists(t, path)
}

// A folder that cannot be synced, as those of /proc, is no error.
func TestSyncFolder(t *testing.T) {
	assert.NoError(t, OS{}.SyncFolder(t.TempDir()))
	if _, err := os.Stat("/proc"); err == nil {
		assert.NoError(t, OS{}.SyncFolder("/proc"))
	}
}

// A file is staged while another is whose name begins with its name.
func TestStageKeepsOthers(t *testing.T) {
	dir := t.TempDir()
	none := func(io.Writer) error { return nil }
	longer, err := Stage(OS{}, filepath.Join(dir, "log.csv"), none)
	require.NoError(t, err)
	shorter, err := Stage(OS{}, filepath.Join(dir, "log"), none)
	require.NoError(t, err)
	require.NoError(t, longer.Commit())
	require.NoError(t, shorter.Commit())
	assert.ElementsMatch(t, []string{"log", "log.csv"}, list(t, dir))
}

func TestMakeFolder(t *testing.T) {
	dir := t.TempDir()
	undo, err := MakeFolder(filepath.Join(dir, "a", "b", "c"))
	require.NoError(t, err)
	require.DirExists(t, filepath.Join(dir, "a", "b", "c"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a", "file"), nil, 0o666))
	undo()
	assert.ElementsMatch(t, []string{"file"}, list(t, filepath.Join(dir, "a")))
	undo, err = MakeFolder(filepath.Join(dir, "a"))
	require.NoError(t, err)
	undo()
	assert.DirExists(t, filepath.Join(dir, "a"), "it was there before")
	_, err = MakeFolder(filepath.Join(dir, "a", "file", "b"))
	assert.Error(t, err)

	link := filepath.Join(dir, "link")
	if err := os.Symlink("nowhere", link); err != nil {
		t.Skip(err)
	}
	for _, path := range []string{link, filepath.Join(link, "b")} {
		_, err = MakeFolder(path)
		assert.Error(t, err)
		_, err = os.Lstat(link)
		assert.NoError(t, err, "a failure keeps the link")
	}
}

// A path on a drive that is not there is an error.
func TestMakeFolderWithoutDrive(t *testing.T) {
	if runtime.GOOS != "windows" {
		t.Skip("drives are of Windows")
	}
	for drive := 'Z'; drive > 'C'; drive-- {
		root := string(drive) + `:\`
		if _, err := os.Stat(root); errors.Is(err, os.ErrNotExist) {
			_, err := MakeFolder(filepath.Join(root, "a", "b"))
			assert.Error(t, err)
			return
		}
	}
}

// A lock keeps others out until it is given back or its process dies.
func TestLock(t *testing.T) {
	const variable = "KERNELFOLD_DISK_TEST"
	if path := os.Getenv(variable); path != "" {
		_, err := Lock(path)
		if err != nil {
			os.Exit(1)
		}
		_, _ = os.Stdout.WriteString("locked\n")
		select {}
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "lock")
	unlock, err := Lock(path)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("the system has no locks")
	}
	require.NoError(t, err)
	_, err = Lock(path)
	assert.ErrorIs(t, err, ErrLocked)
	unlock()
	if runtime.GOOS == "windows" {
		return
	}
	assert.Empty(t, list(t, dir))

	c := rerun.Command("-test.run=^TestLock$")
	c.Env = append(os.Environ(), variable+"="+path)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	_, err = io.ReadFull(out, make([]byte, len("locked\n")))
	require.NoError(t, err)
	_, err = Lock(path)
	assert.ErrorIs(t, err, ErrLocked)
	require.NoError(t, c.Process.Kill())
	_ = c.Wait()
	assert.FileExists(t, path, "of the process that died")
	unlock, err = Lock(path)
	require.NoError(t, err)
	unlock()
	assert.FileExists(t, path, "is not this one's to remove")
	_, err = Lock(filepath.Join(dir, "none", "lock"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}
