// SPDX-License-Identifier: Apache-2.0

package notebooks

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Where something is missing, install.sh says what, and what to do, before it does anything.
func TestInstallSaysWhatIsMissing(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash")
	}
	oldGo := "#!" + bash + "\n[ \"$1\" = env ] && echo go1.19.8\n"
	newGo := "#!" + bash + "\n[ \"$1\" = env ] && echo go1.99\n"
	jupyter := "#!" + bash + "\nexit 1\n"
	for _, c := range []struct {
		name     string
		programs map[string]string
		want     string
	}{
		{"no Go", nil, "install: want Go on the PATH, found none"},
		{"an old Go", map[string]string{"go": oldGo}, "install: want Go 1.26.0 or later, got Go 1.19.8"},
		{"no Jupyter", map[string]string{"go": newGo}, "install: want jupyter on the PATH, found none"},
		{"a broken Jupyter", map[string]string{"go": newGo, "jupyter": jupyter}, "install: jupyter --data-dir failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bin, home := t.TempDir(), t.TempDir()
			for _, tool := range []string{"dirname", "sed", "sort", "head"} {
				path, err := exec.LookPath(tool)
				if err != nil {
					t.Skipf("there is no %s", tool)
				}
				require.NoError(t, os.Symlink(path, filepath.Join(bin, tool)))
			}
			for name, text := range c.programs {
				require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755))
			}
			cmd := exec.Command(bash, "install.sh")
			cmd.Env = []string{"PATH=" + bin, "HOME=" + home}
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			assert.Equal(t, 1, exit.ExitCode())
			assert.Contains(t, string(out), c.want)
			left, err := os.ReadDir(home)
			require.NoError(t, err)
			assert.Empty(t, left)
		})
	}
}
