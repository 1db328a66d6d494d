// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/examples/internal/figure"
	"github.com/kernelfold/kernelfold/internal/disk"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/train"
)

// test evaluates the net that was saved. The function that it returns draws the figures.
func (c *command) test(ctx context.Context, stdout, stderr io.Writer) (draw func() error, err error) {
	if c.Import != "" {
		return c.testImport(ctx, stdout, stderr)
	}
	p, r, err := c.predictor(16)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	of := command{settings: r.Settings}
	of.Data, of.Limit, of.Skip = cmp.Or(c.Data, of.Data), cmp.Or(c.Limit, of.Limit), of.Skip || c.Skip
	if c.Data != "" { // whose labels are its sub-folders
		of.Labels = ""
	}
	if err := of.apart("figures", c.figuresDir()); err != nil {
		return nil, err
	}
	var set *dataset
	switch others := func() (*dataset, error) { return of.others(r, c.Limit) }; {
	case c.Data == "":
		set, err = of.load(of.folder)
	case r.Preprocessing != nil:
		set, err = others()
	default:
		set, err = of.load(others)
	}
	if c.Data == "" && errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; -data DIR names images that are there", err)
	}
	if err != nil {
		return nil, err
	}
	if set.Shape() != r.Shape || len(set.Classes) != len(r.Classes) {
		return nil, cli.Usage("-data: want images of %v and %d classes, as the net was trained on, got %v and %d", r.Shape, len(r.Classes), set.Shape(), len(set.Classes))
	}
	if err := sameClasses(r.Classes, set.Classes); err != nil {
		return nil, fmt.Errorf("-evaluate: %w", err)
	}
	renormalise(set.Test.Images, set.imageSet, r)
	set.Mean, set.Std = r.Mean, r.Std
	return c.evaluation(ctx, stdout, stderr, p, set)
}

// evaluation evaluates a net on the test images and prints the results. The function that it returns draws them.
func (c *command) evaluation(ctx context.Context, stdout, stderr io.Writer, p *models.Predictor, set *dataset) (draw func() error, err error) {
	confusion, err := models.NewConfusion(set.Classes)
	if err != nil {
		return nil, err
	}
	test := set.testing()
	if test.Len() == 0 {
		return nil, fmt.Errorf("want test images, got a run with -test 0; -data DIR names others")
	}
	loss := 0.0
	worst := worstPictures{most: 24}
	err = train.Predict(ctx, p, test, func(e train.Prediction) error {
		l := e.Loss()
		loss += l
		worst.add(lossy{e, l})
		return confusion.Add(e.Label, e.Class())
	})
	if err != nil {
		return nil, err
	}
	set.skipped(stderr)
	fmt.Fprintf(stdout, "%s: %d test images, loss %.4f, accuracy %.2f %%\n", set.Name, test.Len(), loss/float64(test.Len()), 100*confusion.Accuracy())
	fmt.Fprintf(stdout, "\n%v", confusion)
	if m := confusion.Matrix(); m != "" {
		fmt.Fprintf(stdout, "\n%s", m)
	}
	dir := c.figuresDir()
	if dir == "" {
		return func() error { return nil }, nil
	}
	sheet, err := worst.sheet(set)
	if err != nil {
		return nil, err
	}
	matrix := heat(confusion, set.Name)
	return func() error { return drawEvaluation(stdout, dir, matrix, sheet) }, nil
}

// drawEvaluation writes the figures of an evaluation.
func drawEvaluation(stdout io.Writer, dir string, matrix figure.Heat, sheet figure.Sheet) error {
	for _, f := range []struct {
		name string
		of   interface{ PNG() ([]byte, error) }
	}{
		{"confusion.png", matrix},
		{"worst.png", sheet},
	} {
		b, err := f.of.PNG()
		if err == nil {
			err = os.MkdirAll(dir, 0o777)
		}
		if err == nil {
			err = disk.WriteFile(filepath.Join(dir, f.name), b)
		}
		if err != nil {
			return fmt.Errorf("-figures: %s: %w", f.name, err)
		}
	}
	fmt.Fprintf(stdout, "\nthe matrix as a picture, and the pictures with the highest loss: confusion.png and worst.png in %s\n", dir)
	return nil
}

// figuresDir is where the figures of an evaluation go: -figures, or the folder of the run.
func (c *command) figuresDir() string {
	switch {
	case c.figures != "":
		return c.figures
	case c.file != "":
		return filepath.Dir(c.file)
	}
	return c.out
}

// heat is the matrix with rows that sum to 1.
func heat(c *models.Confusion, of string) figure.Heat {
	classes := c.Classes()
	h := figure.Heat{Title: "Per cent of each class, " + of, X: "predicted", Y: "class", Rows: classes, Columns: classes}
	for i := range classes {
		row := make([]float64, len(classes))
		n := float64(c.Measures(i).Examples)
		for k := range row {
			row[k] = float64(c.Count(i, k)) / n
		}
		h.Values = append(h.Values, row)
	}
	return h
}

// worstPictures are the predictions with the highest loss, the highest first.
type worstPictures struct {
	most int
	all  []lossy
}

// lossy is a prediction with its loss.
type lossy struct {
	train.Prediction
	loss float64
}

func (w *worstPictures) add(e lossy) {
	i, _ := slices.BinarySearchFunc(w.all, e, func(a, b lossy) int {
		return cmp.Or(cmp.Compare(b.loss, a.loss), cmp.Compare(a.Example, b.Example))
	})
	if i < w.most {
		w.all = slices.Insert(w.all, i, e)
		w.all = w.all[:min(len(w.all), w.most)]
	}
}

// sheet shows those pictures, each with its class and the predicted class.
func (w *worstPictures) sheet(set *dataset) (figure.Sheet, error) {
	s := figure.Sheet{Title: "Pictures with the highest loss, " + set.Name}
	for _, e := range w.all {
		x := make([]float32, set.Channels*set.Height*set.Width)
		if err := set.testing().Example(e.Example, []any{x}, nil); err != nil {
			return s, err
		}
		p := models.Softmax(e.Logits)
		s.Pictures = append(s.Pictures, figure.Captioned{
			Image: pictured(x, set.imageSet),
			Lines: []string{
				fmt.Sprintf("%s, %.1f %%", set.Classes[e.Label], 100*p[e.Label]),
				fmt.Sprintf("as %s, %.1f %%", set.Classes[e.Class()], 100*p[e.Class()]),
				set.nameOf(e.Example),
			},
		})
	}
	return s, nil
}

// pictured is an image as it was before it was normalised.
func pictured(x []float32, set *imageSet) image.Image {
	plane := set.Height * set.Width
	im := image.NewRGBA(image.Rect(0, 0, set.Width, set.Height))
	for i := range plane {
		var rgb [3]uint8
		for c := range rgb {
			from := c % set.Channels // a grey channel serves as all three
			v := x[from*plane+i]*set.Std[from] + set.Mean[from]
			rgb[c] = uint8(255*min(1, max(0, v)) + 0.5)
		}
		im.SetRGBA(i%set.Width, i/set.Width, color.RGBA{rgb[0], rgb[1], rgb[2], 0xff})
	}
	return im
}

// renormalise normalises the images of another set, or of another number of images, by the mean and standard deviation
// of the images that the net was trained on.
func renormalise(pixels []float32, set *imageSet, r *record) {
	if slices.Equal(set.Mean, r.Mean) && slices.Equal(set.Std, r.Std) {
		return
	}
	plane := set.Height * set.Width
	for i, v := range pixels {
		c := i / plane % set.Channels
		pixels[i] = (v*set.Std[c] + set.Mean[c] - r.Mean[c]) / r.Std[c]
	}
}
