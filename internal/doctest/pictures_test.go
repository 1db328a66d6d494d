// SPDX-License-Identifier: Apache-2.0

package doctest

import (
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestPictures runs the commands of docs/pictures.md in their order, each block as a script, and compares what they print with what the page shows.
// The folder of the page and the port of its server are others.
func TestPictures(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: trains nets")
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl")
	}
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := l.Addr().String()
	port = port[strings.LastIndex(port, ":"):]
	require.NoError(t, l.Close())
	command := regexp.MustCompile(`^(go|cd|\./classify) `)
	in, printed, scripts := filepath.FromSlash(root), "", 0
	for _, p := range parts(read(t, filepath.Join(root, "docs/pictures.md"))) {
		require.Empty(t, p.fence)
		if !command.MatchString(p.text) {
			assert.Contains(t, numbersHidden(printed), numbersHidden(p.text), "the page shows, but for the numbers, what is printed:\n%s", printed)
			continue
		}
		cmd := exec.Command("sh", "-ec", strings.ReplaceAll(strings.ReplaceAll(p.text, "../pictures", dir), ":8080", port))
		cmd.Dir = in
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s\n%s", p.text, out)
		if printed = string(out); strings.Contains(p.text, "cd ") {
			in = dir
		}
		scripts++
	}
	assert.Greater(t, scripts, 7)
	for _, file := range []string{"run/best.safetensors", "run/confusion.png", "run/worst.png", "classes.csv", "fine/best.safetensors", "letters.onnx", "letters.safetensors"} {
		assert.FileExists(t, filepath.Join(dir, file))
	}
}
