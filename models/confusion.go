// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Confusion is a confusion matrix: it counts examples by their class and by the class that was predicted.
//
//	c, err := models.NewConfusion(set.Classes)
//	err = train.Predict(ctx, p, set.Test, func(e train.Prediction) error { return c.Add(e.Label, e.Class()) })
//	fmt.Print(c, "\n", c.Matrix())
//
// Its measures are those of Sokolova and Lapalme 2009, A systematic analysis of performance measures for classification
// tasks, tables 1 and 3.
type Confusion struct {
	classes  []string
	counts   []int // classes x classes: a row for each class, a column for each prediction
	examples int   // the sum of counts
}

// NewConfusion returns a matrix of zeros for at least 2 classes.
func NewConfusion(classes []string) (*Confusion, error) {
	if len(classes) < 2 {
		return nil, fmt.Errorf("models: confusion: want at least 2 classes, got %d", len(classes))
	}
	return &Confusion{classes: slices.Clone(classes), counts: make([]int, len(classes)*len(classes))}, nil
}

// Add counts an example.
func (c *Confusion) Add(class, predicted int) error {
	for _, k := range []int{class, predicted} {
		if k < 0 || k >= len(c.classes) {
			return fmt.Errorf("models: confusion: want classes 0..%d, got an example of class %d predicted as %d", len(c.classes)-1, class, predicted)
		}
	}
	c.counts[class*len(c.classes)+predicted]++
	c.examples++
	return nil
}

// Classes returns the names of the classes.
func (c *Confusion) Classes() []string { return slices.Clone(c.classes) }

// Count returns the number of examples of a class that were predicted as another, or the same.
func (c *Confusion) Count(class, predicted int) int { return c.counts[class*len(c.classes)+predicted] }

// Examples returns the number of examples.
func (c *Confusion) Examples() int { return c.examples }

// Accuracy returns the share of examples whose class was predicted, NaN if there are none.
func (c *Confusion) Accuracy() float64 {
	right := 0
	for k := range c.classes {
		right += c.Count(k, k)
	}
	return ratio(right, c.examples)
}

// ClassMeasures are those of one class against all others. A share of nothing is NaN.
type ClassMeasures struct {
	Class     string
	Examples  int // of the class
	Predicted int // examples for which it was predicted
	Correct   int // examples of the class for which it was predicted

	Precision float64 // Correct/Predicted
	Recall    float64 // Correct/Examples: the accuracy within the class
	F1        float64 // 2 Correct/(Examples + Predicted), the harmonic mean of precision and recall
	Accuracy  float64 // share of all examples for which it was right to predict, or not to predict, the class

	Confused int // the other class that was predicted most often for examples of this class, or -1
}

// Measures returns the measures of a class.
func (c *Confusion) Measures(class int) ClassMeasures {
	m := ClassMeasures{Class: c.classes[class], Correct: c.Count(class, class), Confused: -1}
	for k := range c.classes {
		m.Examples += c.Count(class, k)
		m.Predicted += c.Count(k, class)
		if n := c.Count(class, k); k != class && n > 0 && (m.Confused < 0 || n > c.Count(class, m.Confused)) {
			m.Confused = k
		}
	}
	m.Precision, m.Recall = ratio(m.Correct, m.Predicted), ratio(m.Correct, m.Examples)
	m.F1 = ratio(2*m.Correct, m.Examples+m.Predicted)
	m.Accuracy = ratio(c.examples-m.Examples-m.Predicted+2*m.Correct, c.examples)
	return m
}

// MeanRecall returns the mean of the recalls of the classes that have examples, which is called balanced accuracy: classes count alike, however
// many examples they have. It is NaN if there are no examples.
func (c *Confusion) MeanRecall() float64 {
	return mean(c.measures(), func(m ClassMeasures) float64 { return m.Recall })
}

// measures returns those of all classes.
func (c *Confusion) measures() []ClassMeasures {
	all := make([]ClassMeasures, len(c.classes))
	for k := range all {
		all[k] = c.Measures(k)
	}
	return all
}

// mean returns the mean of a measure over the classes for which it is a number.
func mean(all []ClassMeasures, of func(ClassMeasures) float64) float64 {
	sum, n := 0.0, 0.0
	for _, m := range all {
		if v := of(m); !math.IsNaN(v) {
			sum, n = sum+v, n+1
		}
	}
	return sum / n
}

func ratio(part, of int) float64 { return float64(part) / float64(of) } // 0/0 is NaN

// textColumns is how wide the texts of a Confusion are.
const textColumns = 80

// String returns a table of the measures of all classes, of 80 columns, with their means in the last line.
func (c *Confusion) String() string {
	const name, other = 20, 12
	var b strings.Builder
	line := func(class, examples, precision, recall, f1, accuracy, confused string) {
		s := fmt.Sprintf("%s %8s %10s %7s %7s %9s  %s", padded(class, name), examples, precision, recall, f1, accuracy, confused)
		b.WriteString(strings.TrimRight(s, " ") + "\n")
	}
	line("class", "examples", "precision", "recall", "F1", "accuracy", "taken for")
	all := c.measures()
	for k, m := range all {
		confused := ""
		if m.Confused >= 0 {
			times := fmt.Sprintf(" (%d)", c.Count(k, m.Confused))
			confused = shortened(c.classes[m.Confused], other-len(times)) + times
		}
		line(m.Class, strconv.Itoa(m.Examples), share(m.Precision), share(m.Recall), share(m.F1), share(m.Accuracy), confused)
	}
	means := func(of func(ClassMeasures) float64) string { return share(mean(all, of)) }
	line("mean of the classes", strconv.Itoa(c.examples),
		means(func(m ClassMeasures) float64 { return m.Precision }), means(func(m ClassMeasures) float64 { return m.Recall }),
		means(func(m ClassMeasures) float64 { return m.F1 }), means(func(m ClassMeasures) float64 { return m.Accuracy }), "")
	return b.String()
}

// MatrixClasses is the largest number of classes whose matrix fits the columns of Matrix.
const MatrixClasses = 20

// Matrix returns the matrix as text of at most 80 columns, a row for each class, a column for each prediction: numbers of examples or, if those do not
// fit, per cent of the row, where 0 is less than half a per cent and, where there may be no room for 100, with more than 15 classes, 99 is 99 or more.
// A dot is no example at all. It returns "" for more than MatrixClasses classes.
func (c *Confusion) Matrix() string {
	n := len(c.classes)
	if n == 0 || n > MatrixClasses {
		return ""
	}
	label := len("predicted")
	for k, class := range c.classes {
		label = max(label, utf8.RuneCountInString(fmt.Sprintf("%d %s", k, class)))
	}
	label = min(label, 19)
	width, percent := max(3, len(strconv.Itoa(slices.Max(c.counts)))+1), false
	if label+n*width > textColumns {
		width, percent = min(4, (textColumns-label)/n), true
	}
	var b strings.Builder
	b.WriteString(padded("predicted", label))
	for k := range c.classes {
		fmt.Fprintf(&b, "%*d", width, k)
	}
	b.WriteByte('\n')
	for i, class := range c.classes {
		b.WriteString(padded(fmt.Sprintf("%d %s", i, class), label))
		of := c.Measures(i).Examples
		for k := range c.classes {
			switch v := c.Count(i, k); {
			case v == 0:
				fmt.Fprintf(&b, "%*s", width, ".")
			case percent:
				fmt.Fprintf(&b, "%*.0f", width, min(math.Pow10(width-1)-1, 100*ratio(v, of)))
			default:
				fmt.Fprintf(&b, "%*d", width, v)
			}
		}
		b.WriteByte('\n')
	}
	if percent {
		b.WriteString("(per cent of the examples of each class)\n")
	}
	return b.String()
}

// share is a share in per cent.
func share(v float64) string {
	if math.IsNaN(v) {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*v)
}

// padded is a name of exactly so many columns.
func padded(name string, columns int) string {
	s := shortened(name, columns)
	return s + strings.Repeat(" ", columns-utf8.RuneCountInString(s))
}

// shortened is a name of at most so many columns, on one line.
func shortened(name string, columns int) string {
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, name)
	if r := []rune(name); len(r) > columns {
		return string(r[:max(0, columns-1)]) + "…"
	}
	return name
}
