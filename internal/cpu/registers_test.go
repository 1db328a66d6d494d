// SPDX-License-Identifier: Apache-2.0

package cpu_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Assembly for AVX2 uses only registers that AVX2 has. A machine with AVX-512 has more of them and runs such code all the same, where others end the
// program.
func TestRegistersOfAVX2(t *testing.T) {
	files, err := filepath.Glob("../*/*_amd64.s")
	require.NoError(t, err)
	of512 := regexp.MustCompile(`\b([XYZ](1[6-9]|2\d|3[01])|Z\d+|K[1-7])\b`)
	checked := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, body := range strings.Split(string(text), "\nTEXT ·")[1:] {
			name, body, _ := strings.Cut(body, "(")
			if strings.HasSuffix(name, "AVX512") {
				continue
			}
			checked++
			assert.Empty(t, of512.FindAllString(body, -1), "%s: %s", file, name)
		}
	}
	require.Greater(t, checked, 50, "functions in %v", files)
}
