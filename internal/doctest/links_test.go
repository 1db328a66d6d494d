// SPDX-License-Identifier: Apache-2.0

package doctest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Links within the repository lead to files and headings that exist.
func TestLinks(t *testing.T) {
	for _, page := range pages(t) {
		for _, target := range links(read(t, page)) {
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			file, anchor, _ := strings.Cut(target, "#")
			path := page
			if file != "" {
				path = filepath.Join(filepath.Dir(page), file)
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: link to %s: no such file", page, target)
				continue
			}
			if anchor != "" && !headings(read(t, path))[anchor] {
				t.Errorf("%s: link to %s: no such heading", page, target)
			}
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// links are the targets of the links of a page.
func links(text string) []string {
	var all []string
	for _, m := range link.FindAllStringSubmatch(outsideCode(text), -1) {
		all = append(all, m[1])
	}
	return all
}

// outsideCode drops blocks between fences.
func outsideCode(text string) string {
	var kept []string
	for i, part := range strings.Split(text, "```") {
		if i%2 == 0 {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "")
}

// headings returns the anchors of the headings of a page: lower case, spaces as
// hyphens, punctuation dropped.
func headings(text string) map[string]bool {
	all := map[string]bool{}
	for _, l := range strings.Split(outsideCode(text), "\n") {
		if !strings.HasPrefix(l, "#") {
			continue
		}
		title := strings.ToLower(strings.TrimSpace(strings.TrimLeft(l, "#")))
		title = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(title, "")
		all[strings.ReplaceAll(title, " ", "-")] = true
	}
	return all
}
