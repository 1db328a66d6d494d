// SPDX-License-Identifier: Apache-2.0

package figure

import (
	"image/color"
	"strings"
)

// Hue is the colour of a curve. The zero value stands for the colour by its place among the curves.
type Hue int

// The hues, which colour-blind readers can tell apart.
const (
	Black Hue = iota + 1
	Vermilion
	Blue
	Green
	Purple
	Yellow
	Sky
	Grey
	Wine
)

func (h Hue) colour() color.RGBA { return colours[(int(h)-1)%len(colours)] }

// Manifold returns the hue of the manifold that is named in the name of a method, or black for a method
// without a constraint. Names of ensembles contain those of their parts: PIO(Sphere + Oblique),
// pi:sphere+stiefel.
func Manifold(method string) Hue {
	method = strings.ToLower(method)
	for _, of := range []struct {
		name string
		hue  Hue
	}{
		{"pio", Purple}, {"pi(", Purple}, {"pi:", Purple}, {"po(", Purple}, {"po:", Purple},
		{"centred", Sky}, {"sphere", Blue}, {"oblique", Green}, {"stiefel", Vermilion}, {"grassmann", Yellow}, {"orthogonal", Wine},
	} {
		if strings.Contains(method, of.name) {
			return of.hue
		}
	}
	return Black
}

// spaced returns a text whose spaces are not kerned: in Liberation Sans "k A" would be narrower than "k" and "A".
func spaced(text string) string { return strings.ReplaceAll(text, " ", "\u00a0") }
