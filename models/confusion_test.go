// SPDX-License-Identifier: Apache-2.0

package models_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/models"
)

// confused returns a matrix of the given counts.
func confused(t *testing.T, classes []string, counts [][]int) *models.Confusion {
	c, err := models.NewConfusion(classes)
	require.NoError(t, err)
	for i, row := range counts {
		for k, n := range row {
			for range n {
				require.NoError(t, c.Add(i, k))
			}
		}
	}
	return c
}

func ExampleConfusion() {
	c, err := models.NewConfusion([]string{"cat", "dog", "bird"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, e := range [][2]int{{0, 0}, {0, 0}, {0, 1}, {0, 2}, {1, 1}, {1, 1}, {1, 1}, {1, 0}, {2, 2}, {2, 0}} {
		if err := c.Add(e[0], e[1]); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Printf("accuracy %.1f %%, mean recall %.1f %%\n", 100*c.Accuracy(), 100*c.MeanRecall())
	fmt.Print(c, c.Matrix())
	// Output:
	// accuracy 60.0 %, mean recall 58.3 %
	// class                examples  precision  recall      F1  accuracy  taken for
	// cat                         4     50.0 %  50.0 %  50.0 %    60.0 %  dog (1)
	// dog                         4     75.0 %  75.0 %  75.0 %    80.0 %  cat (1)
	// bird                        2     50.0 %  50.0 %  50.0 %    80.0 %  cat (1)
	// mean of the classes        10     58.3 %  58.3 %  58.3 %    73.3 %
	// predicted  0  1  2
	// 0 cat      2  1  1
	// 1 dog      1  3  .
	// 2 bird     1  .  1
}

// The accuracy of a class counts what is right to leave out; a class without examples, or that is never predicted, is no 0.
func TestConfusionMeasures(t *testing.T) {
	c := confused(t, []string{"a", "b", "none", "missed"}, [][]int{{5, 2, 0, 0}, {1, 8, 0, 0}, {0, 0, 0, 0}, {3, 0, 0, 0}})
	a := c.Measures(0)
	assert.Equal(t, models.ClassMeasures{Class: "a", Examples: 7, Predicted: 9, Correct: 5, Precision: 5. / 9, Recall: 5. / 7, F1: 10. / 16,
		Accuracy: (5. + 8) / 19, Confused: 1}, a)
	none, missed := c.Measures(2), c.Measures(3)
	assert.True(t, math.IsNaN(none.Precision) && math.IsNaN(none.Recall) && math.IsNaN(none.F1))
	assert.Equal(t, 1.0, none.Accuracy)
	assert.Equal(t, -1, none.Confused)
	assert.True(t, math.IsNaN(missed.Precision))
	assert.Zero(t, missed.Recall)
	assert.Equal(t, 13./19, c.Accuracy())
	assert.InDelta(t, (5./7+8./9+0)/3, c.MeanRecall(), 1e-15)
	assert.Equal(t, 19, c.Examples())
	assert.Contains(t, c.String(), "none                        0          -       -       -   100.0 %\n")

	empty := confused(t, []string{"a", "b"}, nil)
	assert.True(t, math.IsNaN(empty.Accuracy()) && math.IsNaN(empty.MeanRecall()))
	_, err := models.NewConfusion([]string{"a"})
	assert.EqualError(t, err, "models: confusion: want at least 2 classes, got 1")
	for _, e := range [][2]int{{-1, 0}, {0, 2}} {
		assert.EqualError(t, empty.Add(e[0], e[1]), fmt.Sprintf("models: confusion: want classes 0..1, got an example of class %d predicted as %d", e[0], e[1]))
	}
}

// Texts are of 80 columns and a line for each class, whatever the names and the numbers.
func TestConfusionColumns(t *testing.T) {
	for _, n := range []int{2, 10, 20, 21} {
		var classes []string
		counts := make([][]int, n)
		for i := range n {
			classes = append(classes, strings.Repeat("größe\n", 2+i)+fmt.Sprint(i))
			counts[i] = make([]int, n)
			counts[i][i], counts[i][(i+1)%n] = 4000, 7
		}
		c := confused(t, classes, counts)
		for text, lines := range map[string]int{c.String(): n + 2, c.Matrix(): n + 1} {
			if text == "" {
				assert.Greater(t, n, models.MatrixClasses)
				continue
			}
			got := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
			if n == 20 && lines == n+1 {
				assert.Equal(t, "(per cent of the examples of each class)", got[len(got)-1])
				got = got[:len(got)-1]
			}
			assert.Len(t, got, lines)
			for _, line := range got {
				assert.LessOrEqual(t, utf8.RuneCountInString(line), 80, line)
			}
		}
	}
}

// A per cent is a word of its own, also 100 of them.
func TestConfusionPercent(t *testing.T) {
	for n, want := range map[int]string{15: "100", 16: "99"} {
		counts := make([][]int, n)
		for i := range n {
			counts[i] = make([]int, n)
			counts[i][i], counts[i][(i+1)%n] = 1999, 1
		}
		lines := strings.Split(confused(t, slices.Repeat([]string{"withaverylongname"}, n), counts).Matrix(), "\n")
		for i, line := range lines[1 : n+1] {
			cells := strings.Fields(line)[2:] // after the number of the class and its name
			require.Len(t, cells, n, line)
			assert.Equal(t, want, cells[i])
			assert.Equal(t, "0", cells[(i+1)%n])
		}
	}
}

// BenchmarkConfusionString is the text of a Confusion of as many classes as ImageNet has, and of half of them. It takes at most four times as long.
//
//	go test -run '^$' -bench ConfusionString ./models
func BenchmarkConfusionString(b *testing.B) {
	for _, n := range []int{500, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c, err := models.NewConfusion(make([]string, n))
			require.NoError(b, err)
			for b.Loop() {
				assert.Len(b, strings.Split(c.String(), "\n"), n+3)
			}
		})
	}
}

func TestSoftmaxAndTop(t *testing.T) {
	p := models.Softmax([]float64{math.Log(1), math.Log(2), math.Log(5)})
	assert.InDeltaSlice(t, []float64{0.125, 0.25, 0.625}, p, 1e-15)
	assert.Equal(t, []float64{0, 1, 0}, models.Softmax([]float64{-1e300, 1e300, 0}))
	assert.Empty(t, models.Softmax(nil))
	assert.Equal(t, []int{2, 1}, models.Top(p, 2))
	assert.Equal(t, []int{1, 2, 0}, models.Top([]float64{0, 3, 3}, 9))
	assert.Empty(t, models.Top(p, -1))
}

func TestProbabilities(t *testing.T) {
	m, err := models.CNN(4, models.Options{Shape: [3]int{1, 8, 8}, Classes: 3, Widths: []int{2}, Seed: 1})
	require.NoError(t, err)
	p, err := m.Predictor()
	require.NoError(t, err)
	defer p.Close()
	x := make([]float32, 5*64)
	for i := range x {
		x[i] = float32(i%7) - 3
	}
	logits, err := p.Logits(x)
	require.NoError(t, err)
	got, err := p.Probabilities(x)
	require.NoError(t, err)
	for i := 0; i < 15; i += 3 {
		assert.Equal(t, models.Softmax(logits[i:i+3]), got[i:i+3])
	}
	_, err = p.Probabilities(x[:3])
	assert.ErrorContains(t, err, "models: want images")
}
