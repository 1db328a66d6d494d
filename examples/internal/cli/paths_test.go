// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOutside(t *testing.T) {
	dir := t.TempDir()
	data, link, back := filepath.Join(dir, "data"), filepath.Join(dir, "link"), filepath.Join(dir, "back")
	require.NoError(t, os.MkdirAll(filepath.Join(data, "a"), 0o777))
	linked := os.Symlink(data, link) == nil && os.Symlink(filepath.Join(data, "a"), back) == nil
	t.Chdir(data)
	for path, in := range map[string]bool{
		"": false, ".": true, "a": true, "new": true, filepath.Join("new", "run"): true, "..": false, filepath.Join("..", "run"): false,
		data: true, filepath.Join(data, "a", "..", "..", "run"): false, data + "2": false, string(filepath.Separator): false,
		link: linked, filepath.Join(link, "new"): linked, filepath.Join(back, "new"): linked,
	} {
		for _, folder := range []string{data, ".", link} {
			if folder == link && !linked {
				continue
			}
			err := Outside("out", path, "-data", folder)
			if !in {
				assert.NoError(t, err, "%s in %s", path, folder)
				continue
			}
			assert.EqualError(t, err, "-out: want a place outside of -data, "+folder+", got "+path)
			assert.ErrorAs(t, err, &usageError{})
		}
	}
	assert.NoError(t, Outside("out", "new", "-data", ""))
	assert.NoError(t, Outside("out", filepath.Join(data, "none", "run"), "-data", filepath.Join(data, "none")), "where nothing is read")
}

// A folder is made and left empty, and one in which no file can be made is refused.
func TestFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	undo, err := Folder(path)
	require.NoError(t, err)
	files, err := os.ReadDir(path)
	require.NoError(t, err)
	assert.Empty(t, files)
	undo()
	assert.NoDirExists(t, filepath.Dir(path))
	undo, err = Folder("")
	require.NoError(t, err)
	undo()
	if runtime.GOOS == "linux" {
		_, err = Folder("/proc")
		assert.ErrorContains(t, err, "/proc/.probe-")
	}
}

func TestQuote(t *testing.T) {
	for path, want := range map[string]string{
		"run": "run", "../a-b/c_1.png": "../a-b/c_1.png", `C:\run`: `C:\run`, "über": "über",
		"": "''", "my run": "'my run'", "a'b": `'a'\''b'`, "$HOME": "'$HOME'", "a;b": "'a;b'", "~": "'~'",
	} {
		assert.Equal(t, want, Quote(path))
	}
}
