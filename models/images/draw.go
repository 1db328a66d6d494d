// SPDX-License-Identifier: Apache-2.0

package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"unicode"
)

// DrawOptions are the options of Draw. A zero field takes its default.
type DrawOptions struct {
	// Classes are the letters and digits to draw, a class each: by default the ten digits and the capital letters without I and O, 34 in all.
	Classes string
	// PerClass is the number of pictures of each class: 50 by default.
	PerClass int
	// Seed determines the pictures.
	Seed uint64
	// Side is the length of the longer side in pixels: 96 by default, 16 at least.
	Side int
	// PNG writes PNG files instead of JPEG files.
	PNG bool
}

// drawnClasses are those of Draw by default.
const drawnClasses = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"

// maxDrawn is the largest number of pictures that Draw writes.
const maxDrawn = 1_000_000

func (o DrawOptions) withDefaults() (DrawOptions, error) {
	if o.Classes == "" {
		o.Classes = drawnClasses
	}
	if o.PerClass == 0 {
		o.PerClass = 50
	}
	if o.Side == 0 {
		o.Side = 96
	}
	if o.Side < 16 || o.Side > 512 {
		return o, fmt.Errorf("images: draw: want a side of 16..512 pixels, got %d", o.Side)
	}
	seen := map[rune]bool{}
	for _, r := range o.Classes {
		upper := unicode.ToUpper(r)
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			return o, fmt.Errorf("images: draw: want letters and digits, got %q", r)
		case seen[upper]: // some file systems do not tell them apart
			return o, fmt.Errorf("images: draw: want each letter once, in either case, got %q again", r)
		}
		seen[upper] = true
	}
	if n := len(seen); o.PerClass < 1 || o.PerClass > maxDrawn/n {
		return o, fmt.Errorf("images: draw: want 1..%d pictures of each of %d classes, got %d", maxDrawn/n, n, o.PerClass)
	}
	return o, nil
}

// Draw makes a folder of pictures for Folder: letters and digits in the ten Go typefaces, in two colours, distorted,
// with clutter and noise, of several proportions, in a sub-folder for each class, dir/A/0001.jpg and so on. A picture
// depends on the seed, its class and its number alone, so a larger folder has the pictures of the smaller one.
//
// dir must be new or empty. If ctx ends, the pictures under way are finished, and the error is that of ctx.
func Draw(ctx context.Context, dir string, o DrawOptions) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	clutter, err := loadGlyphs(drawnClasses)
	if err != nil {
		return fmt.Errorf("images: draw: %w", err)
	}
	classes := []rune(o.Classes)
	own, err := loadGlyphs(o.Classes)
	if err != nil {
		return fmt.Errorf("images: draw: %w", err)
	}
	switch there, err := os.ReadDir(dir); {
	case len(there) > 0:
		return fmt.Errorf("images: draw: want a new or an empty folder, got %s with %s in it (%w)", dir, there[0].Name(), fs.ErrExist)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("images: draw: %w", err)
	}
	err = each(ctx, len(classes), func(c int) error { return o.class(ctx, dir, classes[c], c, own, clutter) })
	if err != nil {
		return fmt.Errorf("images: draw: %w", err)
	}
	return nil
}

// class draws the pictures of a class, number c in own.
func (o DrawOptions) class(ctx context.Context, dir string, class rune, c int, own, clutter [][]glyph) error {
	dir = filepath.Join(dir, string(class))
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	// The character itself follows those that serve as clutter, which are the same for every choice of classes.
	glyphs := make([][]glyph, len(own))
	for i := range glyphs {
		glyphs[i] = append(clutter[i][:len(clutter[i]):len(clutter[i])], own[i][c])
	}
	d := drawing{DigitOptions: DigitOptions{Side: o.Side}, glyphs: glyphs, ink: newCanvas(o.Side)}
	if err := d.DigitOptions.defaults(); err != nil {
		return err
	}
	d.Noise /= 2
	grey := make([]byte, o.Side*o.Side)
	for i := range o.PerClass {
		if err := ctx.Err(); err != nil {
			return err
		}
		d.rng = rand.New(rand.NewPCG(o.Seed, uint64(class)<<32|uint64(i)))
		d.draw(grey, len(glyphs[0])-1)
		name := fmt.Sprintf("%04d.jpg", i+1)
		if o.PNG {
			name = strings.Replace(name, ".jpg", ".png", 1)
		}
		if err := o.write(filepath.Join(dir, name), d.coloured(grey)); err != nil {
			return err
		}
	}
	return nil
}

// coloured gives an image two colours, one dark and one light, and cuts off up to an eighth along one axis.
func (d *drawing) coloured(grey []byte) image.Image {
	var dark, light [3]float64
	for c := range dark {
		dark[c], light[c] = d.between(0, 100), d.between(155, 255)
	}
	m := image.NewRGBA(image.Rect(0, 0, d.Side, d.Side))
	for i, v := range grey {
		at := func(c int) byte { return byte(dark[c] + (light[c]-dark[c])*float64(v)/255 + 0.5) }
		m.SetRGBA(i%d.Side, i/d.Side, color.RGBA{at(0), at(1), at(2), 255})
	}
	cut := d.rng.IntN(d.Side / 16)
	if d.rng.IntN(2) == 0 {
		return m.SubImage(image.Rect(cut, 0, d.Side-cut, d.Side))
	}
	return m.SubImage(image.Rect(0, cut, d.Side, d.Side-cut))
}

// write writes a picture. Its file is made once the picture is encoded.
func (o DrawOptions) write(path string, m image.Image) error {
	var b bytes.Buffer
	encode := func() error { return jpeg.Encode(&b, m, &jpeg.Options{Quality: 90}) }
	if o.PNG {
		encode = func() error { return png.Encode(&b, m) }
	}
	if err := encode(); err != nil {
		return err
	}
	err := os.WriteFile(path, b.Bytes(), 0o666)
	if err != nil {
		os.Remove(path)
	}
	return err
}
