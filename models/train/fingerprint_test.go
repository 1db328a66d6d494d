// SPDX-License-Identifier: Apache-2.0

package train_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/tampered"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/checkpoint"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
)

// own is Data of a type that package train does not know.
type own struct{ images.Split }

func (o own) Example(i int, row []any, rng *rand.Rand) error { return o.Split.Example(i, row, rng) }

// pictures are those of a folder.
func pictures(t *testing.T, dir string, o images.FolderOptions) *images.Pictures {
	o.Size, o.Resize, o.Grey = 8, 8, true
	p, err := images.Folder(dir, o)
	require.NoError(t, err)
	return p
}

// A run is resumed with the data that it began with, and with others it is refused by an error that says what differs. Its directory
// does not change.
func TestResumeRefusesOtherData(t *testing.T) {
	fit := func(t *testing.T, dir string, data train.Data, o train.Options) error {
		m, err := models.CNN(4, models.Options{Shape: [3]int{1, 8, 8}, Classes: 2, Widths: []int{2}, Seed: 1})
		require.NoError(t, err)
		o.Seed, o.Checkpoint.Dir = 1, dir
		_, err = train.Fit(context.Background(), m, solvers.NewSGD(), data, o)
		return err
	}
	split := images.Split{Images: make([]float32, 12*64), Labels: []int{0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1}}
	for i := range split.Images {
		split.Images[i] = float32(i%7) - 3
	}
	relabelled, repainted := split, split
	relabelled.Labels = slices.Clone(split.Labels)
	relabelled.Labels[0], relabelled.Labels[1] = 1, 0
	repainted.Images = slices.Clone(split.Images)
	repainted.Images[len(repainted.Images)-1]++
	tensors := func(first float32) train.Tensors {
		x := slices.Clone(split.Images)
		x[0] = first
		y := make([]float32, 24)
		for i := range 12 {
			y[2*i+i%2] = 1
		}
		return train.Tensors{
			tensor.New(tensor.WithShape(12, 1, 8, 8), tensor.WithBacking(x)), tensor.New(tensor.WithShape(12, 2), tensor.WithBacking(y)),
		}
	}
	dir := filepath.Join(t.TempDir(), "letters")
	require.NoError(t, images.Draw(t.Context(), dir, images.DrawOptions{Classes: "AB", PerClass: 6, Side: 16, Seed: 1}))
	letters := pictures(t, dir, images.FolderOptions{})
	changed := func(change func(p *images.Pictures)) *images.Pictures {
		p := *letters
		change(&p)
		return &p
	}
	left, right, err := letters.Holdout(6, 1)
	require.NoError(t, err)
	moved, renamed := filepath.Join(t.TempDir(), "moved"), filepath.Join(t.TempDir(), "renamed")
	require.NoError(t, os.CopyFS(moved, os.DirFS(dir)))
	require.NoError(t, os.CopyFS(renamed, os.DirFS(dir)))
	require.NoError(t, os.Rename(filepath.Join(renamed, "A"), filepath.Join(renamed, "Z")))

	for name, test := range map[string]struct {
		first, then train.Data
		o           train.Options // of the resumption
		want        []string      // nothing: the run continues
	}{
		"the same":             {split, split, train.Options{}, nil},
		"other labels":         {split, relabelled, train.Options{}, []string{"data: labels: want checksum "}},
		"other pixels":         {split, repainted, train.Options{}, []string{"data: pixels: want checksum "}},
		"a test part":          {split, split, train.Options{Test: split}, []string{"Test: want nothing, got 12 examples of images.Split"}},
		"a validation part":    {split, split, train.Options{Validation: own{split}}, []string{"Validation: want nothing, got 12 examples of train_test.own"}},
		"another type":         {split, own{split}, train.Options{}, []string{"data: want 12 examples of images.Split, got 12 examples of train_test.own"}},
		"a type of one's own":  {own{split}, own{repainted}, train.Options{}, nil},
		"the same tensors":     {tensors(1), tensors(1), train.Options{}, nil},
		"other tensors":        {tensors(1), tensors(2), train.Options{}, []string{"data: tensor 0: want checksum "}},
		"the same pictures":    {letters, pictures(t, dir, images.FolderOptions{Skip: true}), train.Options{}, nil},
		"a folder moved":       {letters, pictures(t, moved, images.FolderOptions{}), train.Options{}, nil},
		"another transform":    {letters, changed(func(p *images.Pictures) { p.Transform.Flip = true }), train.Options{}, []string{"data: Transform.Flip: want false, got true"}},
		"other weights":        {letters, changed(func(p *images.Pictures) { p.Weights = []float32{1, 2} }), train.Options{}, []string{"data: weights of the classes: want [], got [1 2]"}},
		"other mean and std":   {letters, changed(func(p *images.Pictures) { p.Mean, p.Std = []float32{0.5}, []float32{1} }), train.Options{}, []string{"data: Preprocessing.Mean: want [0.449], got [0.5]", "data: Preprocessing.Std: want [0.226], got [1]"}},
		"another class":        {letters, pictures(t, renamed, images.FolderOptions{}), train.Options{}, []string{"data: classes: want [A B], got [B Z]", "data: names and labels: want checksum "}},
		"other pictures":       {left, right, train.Options{}, []string{"data: names and labels: want checksum "}},
		"pictures not a split": {split, letters, train.Options{}, []string{"data: want 12 examples of images.Split, got 12 examples of *images.Pictures"}},
	} {
		t.Run(name, func(t *testing.T) {
			run := filepath.Join(t.TempDir(), "run")
			require.NoError(t, fit(t, run, test.first, train.Options{}))
			before := folder(t, run)
			test.o.Epochs, test.o.Checkpoint.Resume = 2, true
			err := fit(t, run, test.then, test.o)
			if test.want == nil {
				require.NoError(t, err)
				return
			}
			assert.ErrorIs(t, err, checkpoint.ErrMismatch)
			assert.ErrorContains(t, err, "want the data of the run that was saved, got others: ")
			assert.NotContains(t, err.Error(), "\n")
			for _, want := range test.want {
				assert.ErrorContains(t, err, want)
			}
			assert.Equal(t, before, folder(t, run))
		})
	}
}

// A run that an earlier version has saved does not say what its data are, and is resumed with those of the same batches.
func TestResumeWithoutFingerprint(t *testing.T) {
	s := newStopped(t)
	c, err := tampered.Read(s.file)
	require.NoError(t, err)
	var loop map[string]any
	require.NoError(t, json.Unmarshal([]byte(c.Metadata[tampered.Loop]), &loop))
	require.Contains(t, loop, "Data")
	delete(loop, "Data")
	b, err := json.Marshal(loop)
	require.NoError(t, err)
	c.Metadata[tampered.Loop] = string(b)
	require.NoError(t, c.Write(s.path()))
	_, err = s.fit(stateful(t), true, func(train.Step) error { return train.ErrStop })
	require.NoError(t, err)

	b, err = os.ReadFile(s.path())
	require.NoError(t, err)
	c, err = tampered.Read(b)
	require.NoError(t, err)
	assert.Contains(t, c.Metadata[tampered.Loop], `"Data":[{"Name":"data","Value":"230 examples of images.Split"}`, "from now on it says so")
}
