// SPDX-License-Identifier: Apache-2.0

package figure

import (
	"image/color"
	"strings"
)

// Hue is the colour of a curve. The zero value is that of its place among the curves.
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

// Manifold is the hue of a manifold whose name is in that of a method; black if there is none, for what has no constraint. Names of
// ensembles hold those of their parts: PIO(Sphere + Oblique), pi:sphere+stiefel.
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

// spaced is a text whose spaces no font kerns away: with Liberation Sans "k A" is narrower than "k" and "A".
func spaced(text string) string { return strings.ReplaceAll(text, " ", "\u00a0") }
