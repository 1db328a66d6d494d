// SPDX-License-Identifier: Apache-2.0

package figure

import (
	"fmt"
	"image/color"
	"math"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Vector is a point of space, or a direction.
type Vector [3]float64

// Sphere is a drawing of the unit sphere of space as a wireframe, with curves, arrows and tangent planes.
// Parts that the sphere hides are drawn paler. The third axis points up, and the view is an orthographic
// projection.
type Sphere struct {
	Title  string
	Curves []Path
	Arrows []Arrow
	Planes []Plane
	// Azimuth and Elevation say from where it is seen, in degrees: from the first axis towards the second,
	// and above the plane of both. 35 and 25 if both are 0.
	Azimuth, Elevation float64
	Size               Size // 5.6 x 4.2 inches at 110 dots an inch by default
}

// Path is a curve through points.
type Path struct {
	Name   string // in the legend, if it has one
	Points []Vector
	Kind   string // paths and arrows of one kind have one colour; by default each name its own
	Dots   bool   // marks at the points, and no line
	Dashed bool
}

// Add appends a point.
func (p *Path) Add(v Vector) { p.Points = append(p.Points, v) }

// Arrow is a straight arrow.
type Arrow struct {
	Name     string
	From, To Vector
	Kind     string
}

// Plane is the square of the tangent plane around a point of the sphere.
type Plane struct {
	At   Vector
	Half float64 // half of a side; 0.6 if it is 0
}

// view turns space so that the eye looks along the third axis: what it returns is right, up and towards the eye.
func (s Sphere) view(v Vector) Vector {
	az, el := s.Azimuth, s.Elevation
	if az == 0 && el == 0 {
		az, el = 35, 25
	}
	sinA, cosA := math.Sincos(az * math.Pi / 180)
	sinE, cosE := math.Sincos(el * math.Pi / 180)
	ahead := v[0]*cosA + v[1]*sinA
	return Vector{-v[0]*sinA + v[1]*cosA, v[2]*cosE - ahead*sinE, ahead*cosE + v[2]*sinE}
}

// hidden reports whether the sphere hides the point at v in the coordinates of the view. Points on the sphere
// are hidden on its far side, also where the chords of a curve run slightly inside.
func hidden(v Vector) bool {
	beside := v[0]*v[0] + v[1]*v[1]
	if beside >= 1 {
		return false
	}
	if r := math.Sqrt(beside + v[2]*v[2]); math.Abs(r-1) < 0.01 {
		return v[2] < 0
	}
	return v[2] < math.Sqrt(1-beside)
}

// PNG draws the sphere. It fails on a point that is not finite.
func (s Sphere) PNG() ([]byte, error) {
	for _, c := range s.Curves {
		for _, p := range c.Points {
			if !finite(p) {
				return nil, fmt.Errorf("figure: %s: want finite points, got %v", c.Name, p)
			}
		}
	}
	for _, a := range s.Arrows {
		if !finite(a.From) || !finite(a.To) {
			return nil, fmt.Errorf("figure: %s: want finite points, got %v and %v", a.Name, a.From, a.To)
		}
	}
	for _, p := range s.Planes {
		if !finite(p.At) || p.At == (Vector{}) || math.IsNaN(p.Half) || math.IsInf(p.Half, 0) {
			return nil, fmt.Errorf("figure: want a tangent plane at a finite point other than zero, got %v", p)
		}
	}

	to := newPage(s.Size.or(Size{5.6, 4.2, 110}))
	d := drawing{view: s.view, kinds: map[string]int{}}
	legend := newLegend()
	for _, c := range s.Curves {
		d.colour(c.Kind, c.Name)
		if c.Name != "" {
			legend.Add(c.Name, pathThumbnail{c, d.colour(c.Kind, c.Name)})
		}
	}
	for _, a := range s.Arrows {
		d.colour(a.Kind, a.Name)
		if a.Name != "" {
			legend.Add(a.Name, pathThumbnail{Path{}, d.colour(a.Kind, a.Name)})
		}
	}
	c := to.inside()
	if d.named(s) {
		c = beside(c, legend)
	}
	c = entitled(c, s.Title)

	d.frame(c, s)
	d.wires()
	for _, p := range s.Planes {
		d.plane(p)
	}
	for _, p := range s.Curves {
		d.path(p)
	}
	for _, a := range s.Arrows {
		d.arrow(a)
	}
	return to.png()
}

func finite(v Vector) bool {
	for _, x := range v {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return false
		}
	}
	return true
}

// entitled writes a title and returns what is left below it.
func entitled(c draw.Canvas, title string) draw.Canvas {
	if title == "" {
		return c
	}
	style := newPlot("", Axis{}, Axis{}).Title.TextStyle
	setFont(&style.Font, 12)
	style.XAlign, style.YAlign = draw.XCenter, draw.YTop
	c.FillText(style, vg.Point{X: (c.Min.X + c.Max.X) / 2, Y: c.Max.Y}, spaced(title))
	return draw.Crop(c, 0, 0, 0, -heading+margin)
}

// drawing is a sphere under way.
type drawing struct {
	view  func(Vector) Vector
	kinds map[string]int
	to    draw.Canvas
	unit  vg.Length // the radius of the sphere
}

// colour returns that of a kind, or of a name where there is none.
func (d *drawing) colour(kind, name string) color.RGBA {
	if kind == "" {
		kind = name
	}
	if _, ok := d.kinds[kind]; !ok {
		d.kinds[kind] = len(d.kinds)
	}
	return colours[d.kinds[kind]%len(colours)]
}

func (d *drawing) named(s Sphere) bool {
	for _, c := range s.Curves {
		if c.Name != "" {
			return true
		}
	}
	for _, a := range s.Arrows {
		if a.Name != "" {
			return true
		}
	}
	return false
}

// frame makes everything fit.
func (d *drawing) frame(c draw.Canvas, s Sphere) {
	reach := 1.0
	see := func(v Vector) {
		p := d.view(v)
		reach = max(reach, math.Abs(p[0]), math.Abs(p[1]))
	}
	for _, p := range s.Curves {
		for _, v := range p.Points {
			see(v)
		}
	}
	for _, a := range s.Arrows {
		see(a.To)
	}
	for _, p := range s.Planes {
		for _, v := range p.corners() {
			see(v)
		}
	}
	size := c.Size()
	d.to, d.unit = c, min(size.X, size.Y)/vg.Length(2*reach*1.03)
}

// at is the place of a point that the eye sees at v.
func (d *drawing) at(v Vector) vg.Point {
	return vg.Point{X: (d.to.Min.X+d.to.Max.X)/2 + vg.Length(v[0])*d.unit, Y: (d.to.Min.Y+d.to.Max.Y)/2 + vg.Length(v[1])*d.unit}
}

// pale mixes a colour with white.
func pale(c color.RGBA, share float64) color.RGBA {
	mix := func(v uint8) uint8 { return uint8(255 - share*(255-float64(v))) }
	return color.RGBA{mix(c.R), mix(c.G), mix(c.B), 255}
}

var wire = color.RGBA{0x9a, 0x9a, 0x9a, 0xff}

// wires draws circles of latitude and longitude every 30 degrees, those behind first, and the outline.
func (d *drawing) wires() {
	const step, parts = math.Pi / 6, 180
	var circles [][]Vector
	for k := -2; k <= 2; k++ {
		sin, cos := math.Sincos(float64(k) * step)
		circles = append(circles, circle(parts, Vector{cos, 0, 0}, Vector{0, cos, 0}, Vector{0, 0, sin}))
	}
	for k := range 6 {
		sin, cos := math.Sincos(float64(k) * step)
		circles = append(circles, circle(parts, Vector{cos, sin, 0}, Vector{0, 0, 1}, Vector{}))
	}
	for _, behind := range []bool{true, false} {
		for _, c := range circles {
			d.line(c, draw.LineStyle{Color: wire, Width: 0.5}, behind, 0.35)
		}
	}
	outline := make([]vg.Point, 0, parts+1)
	for k := range parts + 1 {
		sin, cos := math.Sincos(2 * math.Pi * float64(k) / parts)
		outline = append(outline, d.at(Vector{cos, sin, 0}))
	}
	d.to.StrokeLines(draw.LineStyle{Color: color.Gray{0x60}, Width: 0.9}, outline)
}

// circle returns centre + u cos t + v sin t.
func circle(parts int, u, v, centre Vector) []Vector {
	c := make([]Vector, parts+1)
	for k := range c {
		sin, cos := math.Sincos(2 * math.Pi * float64(k) / float64(parts))
		for i := range c[k] {
			c[k][i] = centre[i] + u[i]*cos + v[i]*sin
		}
	}
	return c
}

// line draws the parts of a curve that are hidden, in a paler colour, or those that are not.
func (d *drawing) line(points []Vector, style draw.LineStyle, behind bool, share float64) {
	if behind {
		r, g, b, _ := style.Color.RGBA()
		style.Color = pale(color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 255}, share)
	}
	var run []vg.Point
	flush := func() {
		if len(run) > 1 {
			d.to.StrokeLines(style, run)
		}
		run = nil
	}
	for k := 1; k < len(points); k++ {
		a, b := d.view(points[k-1]), d.view(points[k])
		middle := Vector{(a[0] + b[0]) / 2, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2}
		if hidden(middle) != behind {
			flush()
			continue
		}
		if run == nil {
			run = []vg.Point{d.at(a)}
		}
		run = append(run, d.at(b))
	}
	flush()
}

func (d *drawing) path(p Path) {
	c := d.colour(p.Kind, p.Name)
	if p.Dots {
		for _, v := range p.Points {
			eye := d.view(v)
			style := draw.GlyphStyle{Color: c, Radius: 3, Shape: draw.CircleGlyph{}}
			if hidden(eye) {
				style.Color = pale(c, 0.4)
			}
			d.to.DrawGlyph(style, d.at(eye))
		}
		return
	}
	style := draw.LineStyle{Color: c, Width: 1.8}
	if p.Dashed {
		style.Dashes = []vg.Length{4, 3}
	}
	for _, behind := range []bool{true, false} {
		d.line(p.Points, style, behind, 0.4)
	}
}

func (d *drawing) arrow(a Arrow) {
	c := d.colour(a.Kind, a.Name)
	const parts = 40
	shaft := make([]Vector, parts+1)
	for k := range shaft {
		for i := range shaft[k] {
			shaft[k][i] = a.From[i] + (a.To[i]-a.From[i])*float64(k)/parts
		}
	}
	style := draw.LineStyle{Color: c, Width: 1.8}
	for _, behind := range []bool{true, false} {
		d.line(shaft, style, behind, 0.4)
	}
	if hidden(d.view(a.To)) {
		c = pale(c, 0.4)
	}
	from, to := d.at(d.view(a.From)), d.at(d.view(a.To))
	dx, dy := float64(to.X-from.X), float64(to.Y-from.Y)
	n := math.Hypot(dx, dy)
	if n == 0 {
		return
	}
	const length, width = 8.0, 3.2
	bx, by := float64(to.X)-length*dx/n, float64(to.Y)-length*dy/n
	d.to.FillPolygon(c, []vg.Point{to,
		{X: vg.Length(bx - width*dy/n), Y: vg.Length(by + width*dx/n)},
		{X: vg.Length(bx + width*dy/n), Y: vg.Length(by - width*dx/n)},
	})
}

// corners are those of the square, two sides of which are level.
func (p Plane) corners() []Vector {
	half := p.Half
	if half == 0 {
		half = 0.6
	}
	n := math.Sqrt(dot(p.At, p.At))
	at := Vector{p.At[0] / n, p.At[1] / n, p.At[2] / n}
	u := Vector{-at[1], at[0], 0}
	if m := math.Hypot(u[0], u[1]); m < 1e-9 {
		u = Vector{1, 0, 0}
	} else {
		u = Vector{u[0] / m, u[1] / m, 0}
	}
	v := Vector{at[1]*u[2] - at[2]*u[1], at[2]*u[0] - at[0]*u[2], at[0]*u[1] - at[1]*u[0]}
	var c []Vector
	for _, s := range [][2]float64{{-1, -1}, {1, -1}, {1, 1}, {-1, 1}} {
		var w Vector
		for i := range w {
			w[i] = at[i] + half*(s[0]*u[i]+s[1]*v[i])
		}
		c = append(c, w)
	}
	return c
}

func dot(u, v Vector) float64 { return u[0]*v[0] + u[1]*v[1] + u[2]*v[2] }

func (d *drawing) plane(p Plane) {
	var outline []vg.Point
	for _, v := range p.corners() {
		outline = append(outline, d.at(d.view(v)))
	}
	d.to.FillPolygon(color.NRGBA{0x56, 0xb4, 0xe9, 0x50}, outline)
	d.to.StrokeLines(draw.LineStyle{Color: color.RGBA{0x56, 0xb4, 0xe9, 0xff}, Width: 0.8}, append(outline, outline[0]))
}

// pathThumbnail is what the legend shows of a path.
type pathThumbnail struct {
	Path
	colour color.RGBA
}

// Thumbnail implements plot.Thumbnailer.
func (t pathThumbnail) Thumbnail(c *draw.Canvas) {
	middle := (c.Min.Y + c.Max.Y) / 2
	if t.Dots {
		c.DrawGlyph(draw.GlyphStyle{Color: t.colour, Radius: 3, Shape: draw.CircleGlyph{}}, vg.Point{X: (c.Min.X + c.Max.X) / 2, Y: middle})
		return
	}
	style := draw.LineStyle{Color: t.colour, Width: 1.8}
	if t.Dashed {
		style.Dashes = []vg.Length{4, 3}
	}
	c.StrokeLine2(style, c.Min.X, middle, c.Max.X, middle)
}
