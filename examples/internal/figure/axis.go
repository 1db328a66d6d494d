// SPDX-License-Identifier: Apache-2.0

package figure

import (
	"fmt"
	"math"

	"gonum.org/v1/plot"
)

// Axis is one of the two axes of a plot.
type Axis struct {
	Label string
	Whole bool        // only whole numbers are marked
	Zero  bool        // it begins at 0, whatever the data
	Log   bool        // it is logarithmic; what is not positive has no place on it
	Floor float64     // unless 0, of a vertical axis: it begins there, and what is below, or not finite, is a mark at its edge
	Max   float64     // unless 0, the smallest value at which it ends
	Ticks plot.Ticker // nil: round numbers; of logarithms to base 10 if Log
}

// at returns the position of a number on the axis, and whether it has one.
func (a Axis) at(v float64) (float64, bool) {
	if a.Log {
		v = math.Log10(v)
	}
	return v, !math.IsNaN(v) && !math.IsInf(v, 0)
}

// finish sets the range and the ticks of an axis after all data have been added.
func (a Axis) finish(of *plot.Axis) {
	if a.Zero && !a.Log {
		of.Min = 0
	}
	if a.Floor != 0 {
		of.Min = a.Floor
	}
	if a.Max != 0 {
		of.Max = math.Max(of.Max, a.Max)
	}
	switch {
	case of.Min > of.Max: // no data
		of.Min, of.Max = 0, 1
	case of.Min == of.Max && a.Zero:
		of.Max++
	case of.Min == of.Max:
		half := Half(of.Min)
		of.Min, of.Max = of.Min-half, of.Max+half
	}
	switch {
	case a.Ticks != nil:
		of.Tick.Marker = a.Ticks
	case !a.Log:
		of.Tick.Marker = roundTicks{whole: a.Whole}
	case of.Max-of.Min <= 4 && len(thirdTicks{}.Ticks(of.Min, of.Max)) > 1:
		of.Tick.Marker = thirdTicks{}
	default:
		of.Tick.Marker = decadeTicks{}
		of.Min, of.Max = math.Floor(of.Min), math.Ceil(of.Max)
	}
}

// Half is half the length of an axis whose data are all v: 0.5, or more where that would be lost to rounding.
func Half(v float64) float64 { return max(0.5, 1e-3*math.Abs(v)) }

// slack, of a step, is for rounding at the ends of an axis.
const slack = 1e-6

// roundTicks marks about six multiples of 1, 2 or 5 times a power of ten, and whole numbers only if so wanted. A range that is empty, or longer than
// all numbers, has no marks.
type roundTicks struct{ whole bool }

// Ticks implements plot.Ticker.
func (r roundTicks) Ticks(low, high float64) []plot.Tick {
	step := math.Pow(10, math.Floor(math.Log10((high-low)/6)))
	for _, f := range []float64{1, 2, 5, 10} {
		if (high-low)/(f*step) <= 7 {
			step *= f
			break
		}
	}
	if !(step > 0) || math.IsInf(step, 0) {
		return nil
	}
	if r.whole {
		step = math.Max(1, math.Round(step))
	}
	var t []plot.Tick
	for k := int64(math.Ceil(low/step - slack)); float64(k) <= high/step+slack; k++ {
		v := float64(k) * step
		t = append(t, plot.Tick{Value: v, Label: fmt.Sprintf("%.6g", v)})
	}
	return t
}

// thirdTicks marks 1 and 3 times the powers of ten on an axis of logarithms.
type thirdTicks struct{}

// Ticks implements plot.Ticker.
func (thirdTicks) Ticks(low, high float64) []plot.Tick {
	var t []plot.Tick
	for k := math.Floor(low); k <= high; k++ {
		for _, m := range []float64{1, 3} {
			v := m * math.Pow(10, k)
			if at := math.Log10(v); at >= low-slack && at <= high+slack {
				t = append(t, plot.Tick{Value: at, Label: fmt.Sprintf("%.3g", v)})
			}
		}
	}
	return t
}

// decadeTicks marks the powers of ten on an axis of logarithms. plot.LogScale would use half of the height for the label of the axis.
type decadeTicks struct{}

// Ticks implements plot.Ticker.
func (decadeTicks) Ticks(low, high float64) []plot.Tick {
	var t []plot.Tick
	for k := math.Ceil(low); k <= high; k++ {
		t = append(t, plot.Tick{Value: k, Label: fmt.Sprintf("1e%+03.0f", k)})
	}
	return t
}
