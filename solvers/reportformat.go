// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"fmt"
	"html/template"
	"math"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// width is the largest number of columns of a report, unless a name is longer.
const width = 80

// String formats the report as text of 80 columns. Parameters of the same kind, rule, manifold, grouping and
// rate are one entry, such as "19 kernels on Stiefel, filter bank, membership <= 5.3e-07", with the range of
// their numbers.
func (r Report) String() string { return r.text(r.groups()) }

// Full is String with an entry for each parameter.
func (r Report) Full() string { return r.text(r.each()) }

// each returns every parameter as a group of its own.
func (r Report) each() [][]ParameterReport {
	each := make([][]ParameterReport, len(r.Parameters))
	for i := range each {
		each[i] = r.Parameters[i : i+1]
	}
	return each
}

// groups returns the parameters that are alike, in the order of the first of each.
func (r Report) groups() (groups [][]ParameterReport) {
	type key struct {
		kernel, frozen, gone     bool
		rule, manifold, grouping string
		rate                     float64
	}
	places := map[key]int{}
	for _, p := range r.Parameters {
		k := key{p.Kernel, p.Frozen, p.gone, p.Rule, kind(p), p.Grouping, p.LearnRate}
		at, ok := places[k]
		if !ok {
			at = len(groups)
			places[k] = at
			groups = append(groups, nil)
		}
		groups[at] = append(groups[at], p)
	}
	return groups
}

// scale matches the scale of a manifold in its name.
var scale = regexp.MustCompile(`r=[^,)]*(, )?`)

// kind is the manifold without its scale, which differs from layer to layer.
func kind(p ParameterReport) string {
	return strings.Replace(scale.ReplaceAllString(p.Manifold, ""), "()", "", 1)
}

// head says which solver it is, and what went wrong.
func (r Report) head() []string {
	lines := []string{fmt.Sprintf("%s after %s", r.Solver, plural(r.Steps, "step"))}
	switch {
	case r.rate == givenRate:
		lines[0] += fmt.Sprintf(", learning rate %.4g", r.LearnRate)
	case r.rate == measuredRate && r.LearnRate == 1:
		lines[0] += ", learning rates from the distances travelled"
	case r.rate == measuredRate:
		lines[0] += fmt.Sprintf(", learning rates from the distances travelled, times %.4g", r.LearnRate)
	}
	if r.Err != nil {
		lines = append(lines, fmt.Sprintf("the last step failed (%d so far): %v", r.Refused, r.Err))
	} else if r.Refused > 0 {
		lines = append(lines, plural(r.Refused, "step")+" failed before the last")
	}
	for _, w := range r.Warnings {
		lines = append(lines, "warning: "+w)
	}
	return lines
}

func (r Report) text(groups [][]ParameterReport) string {
	var b strings.Builder
	for _, line := range r.head() {
		flow(&b, "    ", strings.Fields(line))
	}
	for _, g := range groups {
		title, items := r.entry(g)
		flow(&b, "    ", title)
		for i := range items[:max(0, len(items)-1)] {
			items[i] += ","
		}
		if len(items) > 0 {
			b.WriteString("    ")
			flow(&b, "    ", items)
		}
	}
	return b.String()
}

// flow writes items separated by spaces. If an item does not fit, it begins a new line with indent. An item
// longer than a line is broken at its spaces, so that no number is broken.
func flow(b *strings.Builder, indent string, items []string) {
	text := b.String()
	column := columns(text[strings.LastIndexByte(text, '\n')+1:])
	begun := false
	for _, item := range items {
		words := []string{item}
		if columns(item) > width-len(indent) {
			words = strings.Fields(item)
		}
		for _, w := range words {
			n := columns(w)
			switch {
			case begun && column+1+n > width:
				b.WriteString("\n" + indent)
				column = len(indent)
			case begun:
				b.WriteByte(' ')
				column++
			}
			b.WriteString(w)
			column, begun = column+n, true
		}
	}
	b.WriteByte('\n')
}

// columns returns the number of terminal columns of a text: two for each East Asian wide character and emoji, none for combining marks.
func columns(text string) (n int) {
	for _, c := range text {
		switch {
		case unicode.In(c, unicode.Mn, unicode.Me, unicode.Cf):
		case unicode.In(c, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul), 0x3000 <= c && c < 0x3040, 0xff01 <= c && c <= 0xff60, 0x1f300 <= c && c < 0x1fb00:
			n += 2
		default:
			n++
		}
	}
	return n
}

// entry describes the parameters of a group by a title and further items.
func (r Report) entry(g []ParameterReport) (title, items []string) {
	add := func(is bool, format string, args ...any) {
		if is {
			items = append(items, fmt.Sprintf(format, args...))
		}
	}
	one := g[0]
	what := "kernel"
	if !one.Kernel {
		what = "parameter"
	}
	on := kind(one)
	if len(g) == 1 {
		what, on = fmt.Sprintf("%s %v", label(one), one.Shape), one.Manifold
	} else {
		what = count(len(g), what)
	}
	if one.Grouping == "" {
		title = strings.Fields(what + " without a constraint")
	} else {
		title = append(strings.Fields(fmt.Sprintf("%s on %s, %s,", what, on, one.Grouping)), "membership "+offManifold(g))
	}
	if len(g) == 1 {
		add(one.Grouping != "", "%s of %dx%d", plural(one.Points, "point"), one.N, one.P)
	}
	same := true
	for _, p := range g {
		same = same && p.Role == one.Role
	}
	add(same && one.Kernel, "kernel: %s", one.Role)
	add(same && !one.Kernel && one.Role != "", "%s", one.Role)
	add(true, "gradient %s", extent(g, func(p ParameterReport) float64 { return p.Gradient }, "%.3g"))
	add(true, "direction %s", extent(g, func(p ParameterReport) float64 { return p.Direction }, "%.3g"))
	add(true, "step %s", extent(g, func(p ParameterReport) float64 { return p.StepLength }, "%.3g"))
	add(!one.gone, "angle %s rad", extent(g, func(p ParameterReport) float64 { return p.Angle }, "%.2g"))
	add(most(g, func(p ParameterReport) float64 { return p.Equilibrium }) > 0, "equilibrium %s rad", extent(g, func(p ParameterReport) float64 { return p.Equilibrium }, "%.2g"))
	low := -most(g, func(p ParameterReport) float64 { return -p.Outwardness[0] })
	high := most(g, func(p ParameterReport) float64 { return p.Outwardness[1] })
	add(one.Kernel || one.Grouping != "", "x'g/r^2 %s", fromTo(low, high, "%.2g"))
	add(one.Kernel && !one.gone, "condition number %s", extent(g, func(p ParameterReport) float64 { return p.Condition }, "%.3g"))
	notes := func(is func(p ParameterReport) bool, format string, number func(p ParameterReport) float64) {
		var of []ParameterReport
		for _, p := range g {
			if is(p) {
				of = append(of, p)
			}
		}
		if len(of) == 0 {
			return
		}
		note := format
		if number != nil {
			note = strings.Replace(fmt.Sprintf(format, extent(of, number, "%.4g")), " 1 times", " once", 1)
		}
		switch {
		case len(g) > 1 && len(of) == 1:
			note += " (" + label(of[0]) + ")"
		case len(of) < len(g):
			note += fmt.Sprintf(" (%s and %d more)", label(of[0]), len(of)-1)
		}
		items = append(items, note)
	}
	add(one.Frozen, "frozen")
	several := slices.ContainsFunc(r.Parameters, func(p ParameterReport) bool { return p.Rule != one.Rule })
	add(several && one.Rule != r.Solver, "moved by %s", one.Rule)
	add(one.LearnRate != r.LearnRate && !one.Frozen && r.rate != unknownRate, "learning rate %.4g", one.LearnRate)
	dead := 0
	for _, p := range g {
		dead += p.Dead
	}
	notes(func(p ParameterReport) bool { return p.Dead > 0 }, plural(dead, "dead filter"), nil)
	notes(func(p ParameterReport) bool { return p.Projected }, "projected at first", nil)
	notes(func(p ParameterReport) bool { return p.Reprojections > 0 }, "re-projected %s times", func(p ParameterReport) float64 { return float64(p.Reprojections) })
	notes(func(p ParameterReport) bool { return p.Scale > 0 && p.Scale != 1 }, "rescaled by %s", func(p ParameterReport) float64 { return p.Scale })
	notes(func(p ParameterReport) bool { return p.GeometricFactor > 1 }, "g_t up to %s", func(p ParameterReport) float64 { return p.GeometricFactor })
	notes(func(p ParameterReport) bool { return p.Rebuilt > 0 }, "rebuilt %s times", func(p ParameterReport) float64 { return float64(p.Rebuilt) })
	still := 0
	for _, p := range g {
		still = max(still, p.Still)
	}
	notes(func(p ParameterReport) bool { return p.Still > 0 }, "gradient 0 in the last "+count(still, "step"), nil)
	notes(func(p ParameterReport) bool { return p.Absent }, "not in the last step", nil)
	add(one.gone, "its graph is gone")
	return title, items
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return count(n, what)
}

// most returns the largest number, or NaN if one of them is NaN.
func most(g []ParameterReport, of func(p ParameterReport) float64) float64 {
	worst := math.Inf(-1)
	for _, p := range g {
		worst = max(worst, of(p))
	}
	return worst
}

// offManifold formats the largest membership error.
func offManifold(g []ParameterReport) string {
	worst := most(g, func(p ParameterReport) float64 { return p.Membership })
	switch {
	case g[0].gone:
		return "unknown"
	case math.IsNaN(worst):
		return "NaN"
	}
	return fmt.Sprintf("<= %.1e", worst)
}

// extent formats the smallest and the largest number.
func extent(g []ParameterReport, of func(p ParameterReport) float64, format string) string {
	return fromTo(-most(g, func(p ParameterReport) float64 { return -of(p) }), most(g, of), format)
}

func fromTo(low, high float64, format string) string {
	from, to := fmt.Sprintf(format, low+0), fmt.Sprintf(format, high+0) // no negative zero
	if from == to {
		return to
	}
	return from + " to " + to
}

// HTML formats the report as tables: the entries of String and, folded, those of Full. A notebook shows it if the value of a cell is a report.
func (r Report) HTML() string {
	type row struct{ Title, Items string }
	table := func(groups [][]ParameterReport) (rows []row) {
		for _, g := range groups {
			title, items := r.entry(g)
			rows = append(rows, row{strings.Join(title, " "), strings.Join(items, ", ")})
		}
		return rows
	}
	var b strings.Builder
	if err := page.Execute(&b, map[string]any{"Head": r.head(), "Summary": table(r.groups()), "Each": table(r.each())}); err != nil {
		return template.HTMLEscapeString(r.String()) // the template takes these values: cannot happen
	}
	return b.String()
}

var page = template.Must(template.New("report").Parse(`{{range .Head}}<p>{{.}}</p>
{{end}}<table>{{range .Summary}}
<tr><th style="text-align:left">{{.Title}}</th><td style="text-align:left">{{.Items}}</td></tr>{{end}}
</table>
<details><summary style="display:list-item;cursor:pointer">each parameter</summary>
<table>{{range .Each}}
<tr><th style="text-align:left">{{.Title}}</th><td style="text-align:left">{{.Items}}</td></tr>{{end}}
</table></details>
`))
