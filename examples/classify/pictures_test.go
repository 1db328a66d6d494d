// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/checkpoint"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
)

// draw makes a folder of drawn letters.
func draw(t *testing.T, classes string, n int) string {
	dir := filepath.Join(t.TempDir(), "letters")
	require.NoError(t, images.Draw(t.Context(), dir, images.DrawOptions{Classes: classes, PerClass: n, Side: 24, Seed: 1}))
	return dir
}

// does runs the program, which must succeed, and returns its output.
func does(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	status, stdout, stderr := program(context.Background(), args...)
	require.Zero(t, status, stderr)
	return stdout, stderr
}

// weights returns the weights of a run by name.
func weights(t *testing.T, run string) map[string]any {
	c := command{out: run}
	p, _, err := c.predictor(1)
	require.NoError(t, err)
	defer p.Close()
	all := map[string]any{}
	for _, l := range p.Net().Learnables {
		all[l.Name()] = l.Value().Data()
	}
	return all
}

// A folder of pictures is trained on, a broken one is skipped and named; the run is resumed, evaluated and exported,
// and a net for other classes starts from it.
func TestFolder(t *testing.T) {
	data, dir := draw(t, "ABC", 16), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(data, "A", "0001.jpg"), []byte("text"), 0o666))
	run := filepath.Join(dir, "run")
	args := []string{"-data", data, "-size", "16", "-model", "resnet8", "-batch", "8", "-class-weights", "-out"}
	status, _, stderr := program(context.Background(), append(args, run)...)
	assert.Equal(t, 1, status)
	oneLine(t, stderr, "0001.jpg: want a JPEG, PNG")
	assert.NoDirExists(t, run)

	stdout, stderr := does(t, append(args, run, "-skip", "-epochs", "1")...)
	assert.Contains(t, stdout, "letters: 39 training, 4 validation and 5 test images of 3x16x16, 3 classes")
	assert.Contains(t, stderr, "classify: skipped: images: "+filepath.Join(data, "A", "0001.jpg")+": want a JPEG, PNG")
	whole := filepath.Join(dir, "whole")
	does(t, append(args, whole, "-skip", "-epochs", "2", "-schedule", "constant")...)
	half := filepath.Join(dir, "half")
	does(t, append(args, half, "-skip", "-epochs", "1", "-schedule", "constant")...)
	does(t, "-out", half, "-resume", "-epochs", "2")
	assert.Equal(t, tensors(t, whole), tensors(t, half), "resumed as if it had not stopped")

	stdout, _ = does(t, "-out", run, "-evaluate")
	assert.Contains(t, stdout, "letters: 5 test images, loss ")
	stdout, _ = does(t, "-out", run, "-data", data, "-evaluate", "-figures", dir)
	assert.Contains(t, stdout, "letters: 48 test images, loss ")
	assert.FileExists(t, filepath.Join(dir, "worst.png"))
	stdout, _ = does(t, "-out", run, "-format", "csv", "-top", "1", "-predict", filepath.Join(data, "B"))
	assert.Equal(t, 17, strings.Count(stdout, "\n"))
	for _, name := range []string{"net.onnx", "net.safetensors"} {
		stdout, _ = does(t, "-out", run, "-export", filepath.Join(dir, name))
		assert.Contains(t, stdout, "images are 3x16x16, (pixel/255 - mean)/std with mean [0.485 0.456 0.406]")
		assert.FileExists(t, filepath.Join(dir, name))
	}

	// Fine-tuning: frozen parts stay as they are in the source, others change, and the last layer is replaced.
	fine, five := filepath.Join(dir, "fine"), draw(t, "DEFGH", 8)
	stdout, _ = does(t, "-data", five, "-size", "16", "-model", "resnet8", "-batch", "8", "-epochs", "1", "-import", run, "-new-head", "-freeze", "conv1,layer1", "-out", fine)
	assert.Contains(t, stdout, "kernels are put on stiefel at the size that they have: logits of 16 images change by ")
	assert.Contains(t, stdout, "frozen")
	from, to := weights(t, run), weights(t, fine)
	require.Len(t, to, len(from))
	for name := range from {
		switch {
		case name == "conv1.weight", strings.HasPrefix(name, "layer1."):
			assert.Equal(t, from[name], to[name], name)
		default:
			assert.NotEqual(t, from[name], to[name], name)
		}
	}
	does(t, "-out", fine, "-resume", "-epochs", "2")

	// A file of weights is imported as well.
	file := filepath.Join(dir, "weights.safetensors")
	c := command{out: run}
	p, _, err := c.predictor(1)
	require.NoError(t, err)
	require.NoError(t, checkpoint.Export(file, p.Net()))
	require.NoError(t, p.Close())
	stdout, _ = does(t, "-data", data, "-skip", "-size", "16", "-model", "resnet8", "-shortcut", "zeros", "-evaluate", "-import", file)
	own, _ := does(t, "-out", run, "-evaluate")
	assert.Equal(t, own[:strings.Index(own, "\n")], stdout[:strings.Index(stdout, "\n")])
}

// A folder may have its own test part, classes that are links, and labels in a CSV file.
func TestFolderParts(t *testing.T) {
	data, dir := draw(t, "AB", 10), t.TempDir()
	parts := filepath.Join(dir, "parts")
	require.NoError(t, os.Mkdir(parts, 0o777))
	require.NoError(t, os.Rename(data, filepath.Join(parts, "train")))
	require.NoError(t, os.Rename(draw(t, "AB", 3), filepath.Join(parts, "val")))
	tiny := []string{"-size", "32", "-grey", "-model", "lenet", "-batch", "6", "-epochs", "1", "-data"}
	stdout, _ := does(t, append(tiny, parts)...)
	assert.Contains(t, stdout, "parts: 18 training, 2 validation and 6 test images of 1x32x32, 2 classes")

	links := filepath.Join(dir, "links")
	require.NoError(t, os.Mkdir(links, 0o777))
	linked := true
	for _, class := range []string{"A", "B"} {
		linked = linked && os.Symlink(filepath.Join(parts, "train", class), filepath.Join(links, class)) == nil
	}
	if linked {
		stdout, _ = does(t, append(tiny, links)...)
		assert.Contains(t, stdout, "links: 16 training, 2 validation and 2 test images of 1x32x32, 2 classes")
	}

	rows := []string{"name,label"}
	for _, name := range []string{"A/0001.jpg", "A/0002.jpg", "A/0003.jpg", "A/0004.jpg", "B/0001.jpg", "B/0002.jpg", "B/0003.jpg", "B/0004.jpg"} {
		rows = append(rows, name+","+map[byte]string{'A': "one", 'B': "two"}[name[0]])
	}
	labels := filepath.Join(dir, "labels.csv")
	require.NoError(t, os.WriteFile(labels, []byte(strings.Join(rows, "\n")), 0o666))
	run := filepath.Join(dir, "run")
	stdout, _ = does(t, append(tiny, filepath.Join(parts, "train"), "-labels", labels, "-test", "0", "-validation", "0.25", "-out", run)...)
	assert.Contains(t, stdout, "train: 6 training, 2 validation and 0 test images")
	var r record
	require.NoError(t, json.Unmarshal([]byte(read(t, run, recordFile)), &r))
	assert.Equal(t, []string{"one", "two"}, r.Classes)
	status, _, stderr := program(context.Background(), "-out", run, "-evaluate")
	assert.Equal(t, 1, status)
	oneLine(t, stderr, "want test images, got a run with -test 0")
}

// Each of the nets for ImageNet takes pictures.
func TestNetsForImageNet(t *testing.T) {
	if testing.Short() {
		t.Skip("makes many nets")
	}
	data := draw(t, "AB", 4)
	for _, model := range []string{"imagenet-resnet18", "imagenet-vgg11-bn", "squeezenet", "mobilenetv2"} {
		dir := filepath.Join(t.TempDir(), "run")
		does(t, "-data", data, "-size", "32", "-model", model, "-width", "0.1", "-batch", "4", "-epochs", "1", "-manifold", "sphere", "-solver", "adam", "-test", "0.25", "-out", dir)
		does(t, "-out", dir, "-evaluate")
	}
}

// Data whose classes have been renamed are refused before anything is written: their labels no longer mean what the net has learnt.
func TestRenamedClass(t *testing.T) {
	data, run := draw(t, "ABC", 8), filepath.Join(t.TempDir(), "run")
	does(t, "-data", data, "-grey", "-model", "lenet", "-batch", "8", "-epochs", "1", "-out", run)
	require.NoError(t, os.Rename(filepath.Join(data, "A"), filepath.Join(data, "Z")))
	before := contents(t, run)
	for mode, args := range map[string][]string{"resume": {"-resume", "-epochs", "2"}, "evaluate": {"-evaluate"}} {
		status, _, stderr := program(context.Background(), append(args, "-out", run)...)
		assert.Equal(t, 1, status)
		oneLine(t, stderr, "-"+mode+`: want the classes of the run in their order, got "B" as class 1 instead of "A"`)
		assert.Equal(t, before, contents(t, run))
	}
	stdout, _ := does(t, "-out", run, "-predict", filepath.Join(data, "B", "0001.jpg"))
	assert.Contains(t, stdout, "A", "the names that the net was trained with")
	assert.NotContains(t, stdout, "Z")
}

// A run whose pictures are found to be broken goes on without them by -skip, with all the steps before.
func TestResumeSkips(t *testing.T) {
	data, run := draw(t, "AB", 10), filepath.Join(t.TempDir(), "run")
	args := []string{"-data", data, "-grey", "-model", "lenet", "-batch", "4", "-epochs", "2", "-out", run}
	broken := filepath.Join(data, "B", "0005.jpg") // one of the last batch of an epoch
	require.NoError(t, os.WriteFile(broken, []byte("text"), 0o666))
	status, _, stderr := program(context.Background(), args...)
	assert.Equal(t, 1, status)
	oneLine(t, stderr, broken+": want a JPEG, PNG", "; the steps before it are saved; to continue without it: classify -out "+run+" -resume -skip")
	m, err := models.LeNet(1, models.Options{Shape: [3]int{1, 32, 32}, Classes: 2})
	require.NoError(t, err)
	var loop json.RawMessage
	require.NoError(t, checkpoint.Load(filepath.Join(run, "last.safetensors"), m, nil, &loop))
	assert.Contains(t, string(loop), `"Steps":3,`)
	_, stderr = does(t, "-out", run, "-resume", "-epochs", "2", "-skip")
	assert.Contains(t, stderr, "classify: skipped: images: "+broken)

	gone := &images.PictureError{Path: broken, Err: fs.ErrNotExist} // without it the data would be others
	c := command{out: "run", settings: settings{Solver: "sgd"}}
	assert.ErrorContains(t, c.brokenPicture(gone), "; the steps before it are saved; to continue, put a picture there and: classify -out run -resume")
	for _, other := range []error{errors.Join(gone, train.ErrUnsaved), errors.New("other")} {
		assert.Equal(t, other, c.brokenPicture(other))
	}
	assert.Equal(t, error(gone), (&command{settings: settings{Solver: "sgd"}}).brokenPicture(gone), "nothing is kept")
}

// Without images to evaluate on, no accuracy is printed.
func TestNothingHeldOut(t *testing.T) {
	data := draw(t, "AB", 10)
	args := []string{"-data", data, "-grey", "-model", "lenet", "-batch", "4", "-epochs", "1"}
	for want, more := range map[string]string{
		"epoch 1, the last: there are neither test nor validation images, so its accuracy on other images than those of training is unknown\n": "-test 0 -validation 0",
		"epoch 1, the best by validation accuracy: validation accuracy ":                                                                       "-test 0",
		"epoch 1, the best by test accuracy: test accuracy ":                                                                                   "-validation 0",
		"epoch 1, the best by validation accuracy: test accuracy ":                                                                             "",
	} {
		run := filepath.Join(t.TempDir(), "run")
		stdout, stderr := does(t, append(append(args, "-out", run), strings.Fields(more)...)...)
		assert.Contains(t, stdout, want)
		for _, text := range []string{stdout, stderr, read(t, run, "log.csv"), read(t, run, "log.json")} {
			assert.NotContains(t, text, "NaN")
			assert.NotContains(t, text, "Inf")
		}
	}
}

// Nothing is written among the pictures that are read, where it would be taken for some, nor over the file of their labels.
func TestOutputAmongData(t *testing.T) {
	data, run := draw(t, "AB", 10), filepath.Join(t.TempDir(), "run")
	args := []string{"-data", data, "-grey", "-model", "lenet", "-batch", "4", "-epochs", "1"}
	does(t, append(args, "-out", run)...)
	labels := filepath.Join(t.TempDir(), "log.csv")
	require.NoError(t, os.WriteFile(labels, []byte("A/0001.jpg,one\nB/0001.jpg,two\n"), 0o666))
	before := contents(t, filepath.Dir(data))
	for want, args := range map[string][]string{
		"-out: want a place outside of the pictures of -data, " + data + ", got " + filepath.Join(data, "run"): append(args, "-out", filepath.Join(data, "run")),
		"-out: want a place outside of the pictures of -data, " + data + ", got " + data:                       append(args, "-out", data),
		"-figures: want a place outside of the pictures of -data, ":                                            {"-out", run, "-evaluate", "-data", data, "-figures", filepath.Join(data, "A")},
		"-figures: want a place outside of the pictures of -data, " + data:                                     {"-out", run, "-evaluate", "-figures", data},
		"-labels: want another file than the log of the run in -out, got " + labels:                            append(args, "-labels", labels, "-out", filepath.Dir(labels)),
	} {
		status, stdout, stderr := program(context.Background(), args...)
		assert.Equal(t, 2, status)
		assert.Empty(t, stdout)
		oneLine(t, stderr, want)
	}
	assert.Equal(t, before, contents(t, filepath.Dir(data)))
	assert.Contains(t, read(t, labels), "one")

	// Beside the parts of a folder there is room for a run.
	parts := filepath.Join(t.TempDir(), "parts")
	require.NoError(t, os.CopyFS(filepath.Join(parts, "train"), os.DirFS(data)))
	require.NoError(t, os.CopyFS(filepath.Join(parts, "test"), os.DirFS(data)))
	args[1] = parts
	does(t, append(args, "-out", filepath.Join(parts, "run"))...)
	status, _, stderr := program(context.Background(), append(args, "-out", filepath.Join(parts, "test", "run"))...)
	assert.Equal(t, 2, status)
	oneLine(t, stderr, "-out: want a place outside of the pictures of -data, "+filepath.Join(parts, "test"))
}

// Data that have moved are found by -data, and recorded where they are; others are refused, and nothing changes.
func TestMovedData(t *testing.T) {
	base := t.TempDir()
	data, moved, run, whole := draw(t, "AB", 10), filepath.Join(base, "moved"), filepath.Join(base, "my run"), filepath.Join(base, "whole")
	args := []string{"-data", data, "-grey", "-model", "lenet", "-batch", "4", "-schedule", "constant", "-out"}
	does(t, append(args, whole, "-epochs", "2")...)
	stdout, _ := does(t, append(args, run, "-epochs", "1")...)
	assert.Contains(t, stdout, "to classify a picture: classify -out '"+run+"' -predict FILE\n")
	require.NoError(t, os.CopyFS(moved, os.DirFS(data)))
	require.NoError(t, os.RemoveAll(data))
	before := contents(t, run)
	status, _, stderr := program(context.Background(), "-out", run, "-resume", "-epochs", "2")
	assert.Equal(t, 1, status)
	oneLine(t, stderr, data, "; if the data of the run have moved, -data DIR says where they are")
	status, _, stderr = program(context.Background(), "-out", run, "-evaluate")
	assert.Equal(t, 1, status)
	oneLine(t, stderr, data, "; -data DIR names images that are there")
	status, _, stderr = program(context.Background(), "-out", run, "-resume", "-epochs", "2", "-data", draw(t, "AB", 11))
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "want the 16 examples of the run that was saved, got 18")
	assert.Equal(t, before, contents(t, run))
	does(t, "-out", run, "-resume", "-epochs", "2", "-data", moved)
	assert.Equal(t, tensors(t, whole), tensors(t, run))
	assert.Contains(t, read(t, run, recordFile), `"data": "`+moved+`"`)
}

// A folder that is neither a set nor has pictures is refused for both reasons.
func TestNoPictures(t *testing.T) {
	data := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(data, "cat"), 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(data, "cat", "1.heic"), nil, 0o666))
	status, _, stderr := program(context.Background(), "-data", data)
	assert.Equal(t, 1, status)
	oneLine(t, stderr, "got none of them; nor pictures: images: "+filepath.Join(data, "cat")+": want pictures (.jpg, ")
}
