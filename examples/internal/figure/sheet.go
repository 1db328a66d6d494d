// SPDX-License-Identifier: Apache-2.0

package figure

import (
	"fmt"
	"image"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Sheet is pictures in rows, each with lines of text below it.
type Sheet struct {
	Title    string
	Pictures []Captioned
	Across   int  // pictures in a row; 6 if it is 0
	Size     Size // by default 1.35 inches a picture, at 110 dots an inch
}

// Captioned is a picture with lines of text.
type Captioned struct {
	Image image.Image
	Lines []string
}

// PNG draws the sheet. It fails on a picture without pixels.
func (s Sheet) PNG() ([]byte, error) {
	const pitch, between, letters = vg.Length(1.35) * vg.Inch, vg.Length(8), 22
	across := s.Across
	if across < 1 {
		across = 6
	}
	across = max(1, min(across, len(s.Pictures)))
	lines := 0
	for i, p := range s.Pictures {
		if p.Image == nil || p.Image.Bounds().Empty() {
			return nil, fmt.Errorf("figure: picture %d: want one with pixels, got none", i)
		}
		lines = max(lines, len(p.Lines))
	}
	style := newPlot("", Axis{}, Axis{}).X.Label.TextStyle
	setFont(&style.Font, 8)
	style.XAlign, style.YAlign = draw.XCenter, draw.YTop
	line := style.Font.Size * 1.25
	row := pitch + line*vg.Length(lines) + between/2
	rows := (len(s.Pictures) + across - 1) / across
	above := vg.Length(0)
	if s.Title != "" {
		above = heading - margin
	}
	title := newPlot("", Axis{}, Axis{}).Title.TextStyle
	setFont(&title.Font, 12)
	width := max(pitch*vg.Length(across), title.Width(s.Title)) + 2*margin
	to := newPage(s.Size.or(Size{float64(width / vg.Inch), float64((row*vg.Length(rows) + above + 2*margin) / vg.Inch), 110}))
	c := entitled(to.inside(), s.Title)
	for i, p := range s.Pictures {
		at := vg.Point{X: c.Min.X + pitch*vg.Length(i%across), Y: c.Max.Y - row*vg.Length(i/across)}
		b := p.Image.Bounds()
		w, h := vg.Length(b.Dx()), vg.Length(b.Dy())
		scale := (pitch - between) / max(w, h)
		middle := vg.Point{X: at.X + pitch/2, Y: at.Y - pitch/2}
		c.DrawImage(vg.Rectangle{
			Min: vg.Point{X: middle.X - w*scale/2, Y: middle.Y - h*scale/2},
			Max: vg.Point{X: middle.X + w*scale/2, Y: middle.Y + h*scale/2},
		}, enlarged(p.Image))
		for k, text := range fitting(p.Lines, letters) {
			c.FillText(style, vg.Point{X: middle.X, Y: at.Y - pitch + between/2 - line*vg.Length(k)}, spaced(text))
		}
	}
	return to.png()
}

// enlarged makes each pixel of a small picture a square of several dots, since the page would smooth them.
func enlarged(from image.Image) image.Image {
	const dots = 256
	b := from.Bounds()
	times := dots / max(b.Dx(), b.Dy())
	if times < 2 {
		return from
	}
	to := image.NewRGBA(image.Rect(0, 0, b.Dx()*times, b.Dy()*times))
	for y := range to.Bounds().Dy() {
		for x := range to.Bounds().Dx() {
			to.Set(x, y, from.At(b.Min.X+x/times, b.Min.Y+y/times))
		}
	}
	return to
}
