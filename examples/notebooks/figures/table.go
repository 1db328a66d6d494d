// SPDX-License-Identifier: Apache-2.0

package figures

import (
	"fmt"
	"html"
	"strings"
	"unicode/utf8"
)

// Table is a table of text: the first column is flush left, the others, such as numbers, are flush right.
type Table struct {
	Title string
	Head  []string
	Rows  [][]string
}

// Add appends a row of cells, each printed by package fmt.
func (t *Table) Add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.Rows = append(t.Rows, row)
}

// String is the table as text, columns two spaces apart.
func (t Table) String() string {
	var width []int
	all := append([][]string{t.Head}, t.Rows...)
	for _, row := range all {
		for i, c := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	var b strings.Builder
	if t.Title != "" {
		fmt.Fprintln(&b, t.Title)
	}
	for _, row := range all {
		if len(row) == 0 {
			continue
		}
		for i, c := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			switch {
			case i > 0:
				b.WriteString("  " + pad + c)
			case len(row) > 1:
				b.WriteString(c + pad)
			default:
				b.WriteString(c)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// HTML is the table for a browser.
func (t Table) HTML() string {
	var b strings.Builder
	b.WriteString("<table>\n")
	if t.Title != "" {
		fmt.Fprintf(&b, "<caption>%s</caption>\n", html.EscapeString(t.Title))
	}
	row := func(tag string, cells []string) {
		if len(cells) == 0 {
			return
		}
		b.WriteString("<tr>")
		for i, c := range cells {
			side := "right"
			if i == 0 {
				side = "left"
			}
			fmt.Fprintf(&b, `<%s style="text-align:%s">%s</%s>`, tag, side, html.EscapeString(c), tag)
		}
		b.WriteString("</tr>\n")
	}
	row("th", t.Head)
	for _, r := range t.Rows {
		row("td", r)
	}
	b.WriteString("</table>\n")
	return b.String()
}
