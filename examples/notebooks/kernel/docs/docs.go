// SPDX-License-Identifier: Apache-2.0

// Package docs holds the documentation of packages that the kernel shows.
package docs

import (
	"bytes"
	"compress/gzip"
	"encoding/gob"
	"fmt"
	"go/doc/comment"
	"io"
	"strings"
)

// Doc is the declaration of a name and its comment.
type Doc struct{ Declaration, Comment string }

// Docs holds packages by their path, their names as in "path.Name", and fields and methods as in "path.Type.Name".
type Docs map[string]Doc

// Write writes docs in the form that Read reads.
func (d Docs) Write(w io.Writer) error {
	z := gzip.NewWriter(w)
	if err := gob.NewEncoder(z).Encode(d); err != nil {
		return fmt.Errorf("docs: %w", err)
	}
	return z.Close()
}

// Read reads what Write has written.
func Read(b []byte) (Docs, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("docs: %w", err)
	}
	var d Docs
	if err := gob.NewDecoder(z).Decode(&d); err != nil {
		return nil, fmt.Errorf("docs: %w", err)
	}
	return d, nil
}

// String is the declaration, and the comment below it in lines of at most 78 characters, which is the width of a tooltip.
func (d Doc) String() string {
	text := "\x1b[1m" + d.Declaration + "\x1b[0m"
	if strings.TrimSpace(d.Comment) != "" {
		p := comment.Printer{TextWidth: 78}
		text += "\n\n" + strings.TrimSpace(string(p.Text(new(comment.Parser).Parse(d.Comment))))
	}
	return text
}
