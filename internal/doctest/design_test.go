// SPDX-License-Identifier: Apache-2.0

package doctest

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The table of packages in docs/design.md has all packages. Its row for the notebooks is also for the packages in their folders.
func TestPackagesOfTheDesign(t *testing.T) {
	_, table, _ := strings.Cut(read(t, filepath.Join(root, "docs/design.md")), "\n## Packages\n")
	table, _, _ = strings.Cut(table, "\n## ")
	var listed, want []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(.+?)` \\|").FindAllStringSubmatch(table, -1) {
		listed = append(listed, row[1])
	}
	for _, dir := range packageFolders(t) {
		if !strings.HasPrefix(dir, "examples/notebooks/") {
			want = append(want, dir)
		}
	}
	assert.ElementsMatch(t, want, listed)
}
