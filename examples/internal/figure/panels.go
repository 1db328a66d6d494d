// SPDX-License-Identifier: Apache-2.0

package figure

import (
	"fmt"

	"gonum.org/v1/plot"
)

// Panels are plots of the same curves, side by side and in rows of the same length. The legend is that of the
// first; the sizes of the single plots are ignored.
type Panels struct {
	Rows [][]Lines
	Size Size // by default 4.5 x 3.6 inches a panel, at 144 dots an inch
}

// PNG draws the plots. It fails as Lines.PNG does, and if rows differ in length.
func (p Panels) PNG() ([]byte, error) {
	if len(p.Rows) == 0 || len(p.Rows[0]) == 0 {
		return nil, fmt.Errorf("figure: want a panel at least, got none")
	}
	cols := len(p.Rows[0])
	plots := make([][]*plot.Plot, len(p.Rows))
	var legend *plot.Legend
	for i, row := range p.Rows {
		if len(row) != cols {
			return nil, fmt.Errorf("figure: want rows of %d panels, as the first has, got one of %d", cols, len(row))
		}
		for _, l := range row {
			drawn, its, err := l.plot()
			if err != nil {
				return nil, err
			}
			if legend == nil {
				legend = its
			}
			plots[i] = append(plots[i], drawn)
		}
	}
	to := newPage(p.Size.or(Size{4.5 * float64(cols), 3.6 * float64(len(p.Rows)), 144}))
	for i, row := range aligned(plots, beside(to.inside(), legend), 2*gap) {
		for j, c := range row {
			plots[i][j].Draw(c)
		}
	}
	return to.png()
}
