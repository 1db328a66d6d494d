// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/serve"
)

// tiny returns the arguments of a very short run.
func tiny(more ...string) []string {
	return append([]string{"-model", "resnet8", "-limit", "80", "-batch", "12", "-epochs", "2", "-validation", "0.2"}, more...)
}

func program(ctx context.Context, args ...string) (status int, stdout, stderr string) {
	var out, err bytes.Buffer
	for i, a := range args {
		args[i] = strings.ReplaceAll(a, "\x00", "") // an empty argument
	}
	status = run(ctx, args, &out, &err)
	return status, out.String(), err.String()
}

func read(t *testing.T, elem ...string) string {
	b, err := os.ReadFile(filepath.Join(elem...))
	require.NoError(t, err)
	return string(b)
}

// A run writes event files, and a resumed run writes another one without the flag.
func TestTensorBoard(t *testing.T) {
	dir := t.TempDir()
	for i, args := range [][]string{tiny("-epochs", "1", "-tensorboard", "-out", dir), {"-resume", "-epochs", "2", "-out", dir}} {
		status, _, stderr := program(context.Background(), args...)
		require.Zero(t, status, stderr)
		paths, err := filepath.Glob(filepath.Join(dir, "events", "events.out.tfevents.*"))
		require.NoError(t, err)
		assert.Len(t, paths, i+1)
	}
}

func TestRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	status, stdout, stderr := program(context.Background(), tiny("-out", dir, "-augment", "crop")...)
	require.Zero(t, status, stderr)
	for _, want := range []string{"digits: 64 training, 16 validation and 16 test images of 1x20x20, 10 classes", "resnet8, 75002 weights",
		"7 kernels on Stiefel", "epoch 2, the last: test accuracy", "by validation accuracy", "-predict FILE"} {
		assert.Contains(t, stdout, want)
	}
	assert.Equal(t, 2, strings.Count(stderr, "\n"), "a line for each epoch: %s", stderr)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	assert.Equal(t, []string{"accuracy.png", "best.safetensors", "checkpoint-00000002.safetensors", "last.safetensors", "log.csv", "log.json", "loss.png", "run.json"}, names)
	rows, err := csv.NewReader(strings.NewReader(read(t, dir, "log.csv"))).ReadAll()
	require.NoError(t, err)
	assert.Len(t, rows, 3)
	assert.Equal(t, 2, strings.Count(read(t, dir, "log.json"), "\n"))
	for _, name := range []string{"loss.png", "accuracy.png"} {
		im, err := png.Decode(strings.NewReader(read(t, dir, name)))
		require.NoError(t, err)
		assert.Equal(t, 936, im.Bounds().Dx())
	}

	// The evaluation agrees with the measurements of the best epoch.
	status, stdout, stderr = program(context.Background(), "-out", dir, "-evaluate")
	require.Zero(t, status, stderr)
	assert.Contains(t, stdout, "digits: 16 test images, loss ")
	assert.Contains(t, stdout, "\nmean of the classes        16 ")
	assert.Contains(t, stdout, "\npredicted  0  1  2  3  4  5  6  7  8  9\n")
	for name, least := range map[string]int{"confusion.png": 400, "worst.png": 800} {
		im, err := png.Decode(strings.NewReader(read(t, dir, name)))
		require.NoError(t, err)
		assert.Greater(t, im.Bounds().Dx(), least, name)
	}
	for _, row := range rows[1:] {
		if row[11] == "true" {
			rows[0] = row
		}
	}
	var loss, accuracy float64
	require.NoError(t, json.Unmarshal([]byte(rows[0][4]), &loss))
	require.NoError(t, json.Unmarshal([]byte(rows[0][5]), &accuracy))
	assert.Contains(t, stdout, strings.TrimSpace(fmtPercent(accuracy)))
	assert.Greater(t, loss, 0.0)

	status, _, stderr = program(context.Background(), tiny("-out", dir)...)
	assert.Equal(t, 1, status)
	oneLine(t, stderr, "want a directory without a run")
}

func fmtPercent(share float64) string {
	b, _ := json.Marshal(math.Round(1e4*share) / 100)
	return string(b)
}

func oneLine(t *testing.T, stderr string, want ...string) {
	t.Helper()
	assert.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	assert.True(t, strings.HasPrefix(stderr, "classify: "), stderr)
	for _, w := range want {
		assert.Contains(t, stderr, w)
	}
}

// withoutTime drops the columns of the log that differ from run to run.
func withoutTime(t *testing.T, dir string) [][]string {
	rows, err := csv.NewReader(strings.NewReader(read(t, dir, "log.csv"))).ReadAll()
	require.NoError(t, err)
	for i := range rows {
		rows[i] = append(rows[i][:9:9], rows[i][11:]...)
	}
	return rows
}

// interruption cancels when the program has written the line of so many epochs.
type interruption struct {
	io.Writer
	cancel func()
	left   int
}

func (i *interruption) Write(b []byte) (int, error) {
	if i.left -= bytes.Count(b, []byte("epoch ")); i.left <= 0 {
		i.cancel()
	}
	return i.Writer.Write(b)
}

// A run that was interrupted and resumed leaves the files of one that was not.
func TestResume(t *testing.T) {
	whole, dir := t.TempDir(), t.TempDir()
	for _, solver := range []string{"sgd", "adam"} {
		args := tiny("-epochs", "4", "-solver", solver, "-augment", "crop", "-out")
		whole, dir := filepath.Join(whole, solver), filepath.Join(dir, solver)
		status, _, stderr := program(context.Background(), append(args, whole)...)
		require.Zero(t, status, stderr)

		ctx, cancel := context.WithCancel(context.Background())
		var out, notes bytes.Buffer
		status = run(ctx, append(args, dir), &out, &interruption{&notes, cancel, 2})
		assert.Equal(t, 1, status)
		assert.Contains(t, notes.String(), "classify: interrupted after 2 of 4 epochs and saved; to continue: classify -out "+dir+" -resume")
		assert.Len(t, withoutTime(t, dir), 3)

		status, _, stderr = program(context.Background(), "-out", dir, "-resume")
		require.Zero(t, status, stderr)
		assert.Equal(t, 2, strings.Count(stderr, "\n"), stderr)
		assert.Equal(t, withoutTime(t, whole), withoutTime(t, dir))
		assert.Equal(t, tensors(t, whole), tensors(t, dir))
	}
	dir = filepath.Join(dir, "sgd")
	status, _, stderr := program(context.Background(), "-out", dir, "-resume", "-epochs", "5")
	require.Zero(t, status, stderr)
	assert.Len(t, withoutTime(t, dir), 6)
}

// tensors is a checkpoint without its header, which contains the time that the epochs took.
func tensors(t *testing.T, dir string) string {
	b := read(t, dir, "last.safetensors")
	n := 0
	for i := 7; i >= 0; i-- {
		n = n<<8 | int(b[i])
	}
	return b[8+n:]
}

// Each constraint that other programs have trains, at a rate of its own.
func TestManifolds(t *testing.T) {
	for _, m := range cli.Manifolds[1:] {
		status, stdout, stderr := program(context.Background(), tiny("-epochs", "1", "-manifold", m.Name)...)
		require.Zero(t, status, stderr)
		assert.Contains(t, stdout, manifolds.Name(m.Value))
	}
}

// A stock solver trains, with or without a manifold, and its net is saved, but its run cannot be resumed.
func TestStock(t *testing.T) {
	for _, args := range [][]string{{"-solver", "stock-adam", "-manifold", "none"}, {"-solver", "stock-momentum", "-manifold", "sphere", "-grouping", "slice", "-schedule", "cosine"}} {
		dir := filepath.Join(t.TempDir(), "run")
		status, stdout, stderr := program(context.Background(), tiny(append(args, "-epochs", "1", "-out", dir)...)...)
		require.Zero(t, status, stderr)
		assert.Equal(t, args[3] == "sphere", strings.Contains(stdout, "Sphere"))
		status, _, stderr = program(context.Background(), "-out", dir, "-resume")
		assert.Equal(t, 1, status)
		oneLine(t, stderr, "-resume: want a run of", "got one of "+args[1])
		// Older runs call slices kernels.
		record := filepath.Join(dir, recordFile)
		text, err := os.ReadFile(record)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(record, bytes.ReplaceAll(text, []byte(`"slice"`), []byte(`"kernel"`)), 0o666))
		status, _, stderr = program(context.Background(), "-out", dir, "-evaluate")
		assert.Zero(t, status, stderr)
	}
}

// A picture of an image of the set is classified, from a PNG as from a JPEG of another size.
func TestPredict(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	status, _, stderr := program(context.Background(), "-model", "lenet", "-solver", "adam", "-manifold", "none", "-decay", "0", "-limit", "600",
		"-validation", "0", "-epochs", "20", "-out", dir)
	require.Zero(t, status, stderr)
	set, err := images.Digits(1, 600, 120, images.DigitOptions{})
	require.NoError(t, err)
	right, folder := 0, t.TempDir()
	for i := range 20 {
		im := image.NewGray(image.Rect(0, 0, 40, 40))
		for k := range 1600 {
			v := set.Train.Images[i*400+k/80*20+k%40/2]*set.Std[0] + set.Mean[0]
			im.SetGray(k%40, k/40, color.Gray{uint8(255 * min(1, max(0, v)))})
		}
		var b bytes.Buffer
		path := filepath.Join(dir, "picture")
		if i%2 == 0 {
			require.NoError(t, png.Encode(&b, im))
		} else {
			require.NoError(t, jpeg.Encode(&b, im, &jpeg.Options{Quality: 95}))
		}
		require.NoError(t, os.WriteFile(path, b.Bytes(), 0o666))
		class := filepath.Join(folder, set.Classes[set.Train.Labels[i]])
		require.NoError(t, os.MkdirAll(class, 0o777))
		require.NoError(t, os.WriteFile(filepath.Join(class, fmt.Sprintf("%d.png", i)), b.Bytes(), 0o666))
		status, stdout, stderr := program(context.Background(), "-out", dir, "-predict", path)
		require.Zero(t, status, stderr)
		assert.Equal(t, 3, strings.Count(stdout, " %\n"), stdout)
		if strings.HasPrefix(stdout, set.Classes[set.Train.Labels[i]]+" ") {
			right++
		}
	}
	assert.Greater(t, right, 12, "of 20 training images")
	status, stdout, stderr := program(context.Background(), "-checkpoint", filepath.Join(dir, "last.safetensors"), "-top", "1", "-predict", filepath.Join(dir, "picture"))
	require.Zero(t, status, stderr)
	assert.Equal(t, 1, strings.Count(stdout, "\n"))

	// A folder of the same pictures is evaluated, scaled a little differently, as these were.
	status, stdout, stderr = program(context.Background(), "-out", dir, "-evaluate", "-data", folder)
	require.Zero(t, status, stderr)
	var loss, accuracy float64
	_, err = fmt.Sscanf(stdout, filepath.Base(folder)+": 20 test images, loss %f, accuracy %f", &loss, &accuracy)
	require.NoError(t, err, stdout)
	assert.InDelta(t, float64(right)/0.2, accuracy, 10.01)
	status, stdout, stderr = program(context.Background(), "-out", dir, "-evaluate", "-data", folder, "-limit", "50")
	require.Zero(t, status, stderr)
	assert.Contains(t, stdout, " 10 test images, loss ")

	predictMany(t, dir, filepath.Join(dir, "picture"))
	serves(t, dir, filepath.Join(dir, "picture"))
	status, _, stderr = program(context.Background(), "-out", dir, "-predict", filepath.Join(dir, "run.json"))
	assert.Equal(t, 1, status)
	oneLine(t, stderr, "want a JPEG, PNG, GIF")
	require.NoError(t, os.Truncate(filepath.Join(dir, "best.safetensors"), 1000))
	status, _, stderr = program(context.Background(), "-out", dir, "-predict", filepath.Join(dir, "picture"))
	assert.Equal(t, 1, status)
	oneLine(t, stderr, "best.safetensors")
}

// predictMany classifies files and folders, some of which are not pictures.
func predictMany(t *testing.T, dir, picture string) {
	b, err := os.ReadFile(picture)
	require.NoError(t, err)
	folder := t.TempDir()
	for name, b := range map[string][]byte{"a, 1.png": b, "b.png": []byte("text"), "c.png": b[:len(b)/2], "d/e.png": b} {
		path := filepath.Join(folder, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
		require.NoError(t, os.WriteFile(path, b, 0o666))
	}
	out := map[string]string{}
	for _, format := range []string{"text", "csv", "json"} {
		status, stdout, stderr := program(context.Background(), "-out", dir, "-top", "2", "-format", format, "-predict", picture, folder, filepath.Join(folder, "nowhere.png"))
		assert.Equal(t, 1, status)
		lines := strings.Split(strings.TrimSpace(stderr), "\n")
		require.Len(t, lines, 4, stderr)
		assert.Contains(t, lines[0], "b.png: want a JPEG, PNG")
		assert.Contains(t, lines[1], "c.png: want a JPEG picture that is whole, got a damaged one")
		assert.Contains(t, lines[2], "nowhere.png: no such file")
		assert.Equal(t, "classify: 3 of 6 pictures could not be read", lines[3])
		out[format] = stdout
	}
	assert.Equal(t, 3, strings.Count(out["text"], "\n"))
	assert.Equal(t, 6, strings.Count(out["text"], " %"))
	rows, err := csv.NewReader(strings.NewReader(out["csv"])).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 4)
	assert.Equal(t, []string{"picture", "class 1", "probability 1", "class 2", "probability 2"}, rows[0])
	assert.Equal(t, filepath.Join(folder, "a, 1.png"), rows[2][0])
	var list []struct {
		Picture     string
		Predictions []serve.Prediction
	}
	require.NoError(t, json.Unmarshal([]byte(out["json"]), &list))
	require.Len(t, list, 3)
	for i, e := range list {
		assert.Equal(t, rows[i+1][0], e.Picture)
		require.Len(t, e.Predictions, 2)
		assert.Equal(t, rows[i+1][1], e.Predictions[0].Class)
		assert.Equal(t, list[0].Predictions, e.Predictions, "all are of one picture")
	}
	status, stdout, _ := program(context.Background(), "-out", dir, "-format", "json", "-predict", filepath.Join(folder, "b.png"))
	assert.Equal(t, 1, status)
	assert.Equal(t, "[]\n", stdout)

	// The output before an interruption is complete: here it comes with the message about the first picture.
	for format, want := range map[string]string{"text": " %\n", "csv": "\n", "json": "}\n]\n"} {
		ctx, cancel := context.WithCancel(context.Background())
		var written, notes bytes.Buffer
		args := append([]string{"-out", dir, "-top", "1", "-format", format, "-predict", filepath.Join(folder, "b.png")}, slices.Repeat([]string{picture}, 40)...)
		assert.Equal(t, 1, run(ctx, args, &written, &interruption{&notes, cancel, 0}))
		assert.True(t, strings.HasSuffix(notes.String(), "\nclassify: interrupted\n"), &notes)
		assert.Equal(t, 15, strings.Count(written.String(), picture), "of a batch of 16")
		assert.True(t, strings.HasSuffix(written.String(), want), &written)
	}
}

// serves asks a server for the class of a picture, and ends it.
func serves(t *testing.T, dir, picture string) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stdout, to := io.Pipe()
	ended := make(chan int)
	go func() {
		ended <- run(ctx, []string{"-out", dir, "-top", "2", "-serve", ":0"}, to, io.Discard)
		to.Close()
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	address := strings.Fields(line)[3]
	assert.True(t, strings.HasPrefix(address, "http://127.0.0.1:"), line)
	b, err := os.ReadFile(picture)
	require.NoError(t, err)
	r, err := http.Post(address, "", bytes.NewReader(b))
	require.NoError(t, err)
	defer r.Body.Close()
	var answer struct{ Predictions []serve.Prediction }
	require.NoError(t, json.NewDecoder(r.Body).Decode(&answer))
	_, text, _ := program(context.Background(), "-out", dir, "-top", "2", "-format", "json", "-predict", picture)
	var want []struct{ Predictions []serve.Prediction }
	require.NoError(t, json.Unmarshal([]byte(text), &want))
	require.Len(t, answer.Predictions, 2)
	assert.Equal(t, want[0].Predictions[0].Class, answer.Predictions[0].Class)
	assert.InDelta(t, want[0].Predictions[0].Probability, answer.Predictions[0].Probability, 1e-5)
	cancel()
	assert.Zero(t, <-ended)
}

func TestUsage(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"-foo", "-foo"},
		{"-epochs x", "-epochs"},
		{"data", `"data"`},
		{"-epochs -1", "-epochs: want at least 1"},
		{"-batch 0", "-batch: want at least 1"},
		{"-batch 100 -limit 80", "-batch: want at most the 72 training images"},
		{"-limit -1", "-limit"},
		{fmt.Sprintf("-limit %d", math.MaxInt), "-limit: images: digits: want at most 671088 images"},
		{"-validation 1", "-validation"},
		{"-patience -1", "-patience"},
		{"-model resnet21", "depth of 6n+2"},
		{"-model resnet20x", "-model: want one of lenet"},
		{"-model wrn-16", "-model"},
		{"-model wrn-16-300 -limit 80", "-model wrn-16-300: models: layer2.0.conv2: want at most "},
		{"-model wrn-16-99999999 -limit 80", "want a widening factor of 1 to 65536, got 99999999"},
		{"-model imagenet-resnet18 -width 1e9 -limit 80", "want a width above 0 and up to 65536, got 1e+09"},
		{"-model vgg16", "-model vgg16: models:"},
		{"-solver sgdm", "stock-adam"},
		{"-manifold circle", "-manifold: want one of none, sphere, centred, oblique, stiefel, grassmann, orthogonal, got \"circle\""},
		{"-grouping all", "-grouping: want one of default, slice, filter, channel, tap, bank, got \"all\""},
		{"-manifold none -grouping tap", "-grouping: want a manifold"},
		{"-lr -1", "-lr"},
		{"-momentum 1", "-momentum"},
		{"-decay -1", "-decay"},
		{"-schedule fast", "-schedule: want one of constant, step, cosine"},
		{"-augment much", "-augment"},
		{"-resume", "want -out DIR"},
		{"-predict a.png", "want -out DIR"},
		{"-resume -evaluate -out x", "want one of"},
		{"-resume -out x -lr 1", "-lr: want no flags beside -resume but -out, -epochs, -skip, -data, -labels, -keep, -save-steps, -save-minutes, -tensorboard"},
		{"-checkpoint x", "-checkpoint"},
		{"-predict a.png -out x -top 0", "-top"},
		{"-data ''", `-data: want a value, got an empty one`},
		{"-out ''", `-out: want a value, got an empty one`},
		{"-predict ''", `-predict: want a value, got an empty one`},
		{"-model ''", `-model: want a value, got an empty one`},
		{"-lr 0", "-lr: want a positive number, got 0"},
		{"-lr NaN", "-lr: want a positive number, got NaN"},
		{"-lr Inf", "-lr: want a positive number, got +Inf"},
		{"-lr 1e999", "-lr"},
		{"-epochs 0", "-epochs: want at least 1, got 0"},
		{"-epochs 1000000000000000000", "-epochs: want 1 to 1000000"},
		{"-patience 0", "-patience: want at least 1, got 0"},
		{"-validation NaN", "-validation"},
		{"-validation 1e-9 -limit 80", "-validation: want 0 or a share that is at least one of the 80 training images, got 1e-09"},
		{"-momentum NaN", "-momentum"},
		{"-decay Inf", "-decay"},
		{"-seed -1", "-seed"},
		{"-keep 0 -out x", "-keep: want at least 1, got 0"},
		{"-keep 3", "-keep: want -out DIR beside it"},
		{"-save-steps 0 -out x", "-save-steps: want at least 1, got 0"},
		{"-save-steps -5 -out x", "-save-steps: want at least 1, got -5"},
		{"-save-minutes 0 -out x", "-save-minutes: want a positive number, got 0"},
		{"-save-minutes NaN -out x", "-save-minutes: want a positive number, got NaN"},
		{"-save-minutes 1e300 -out x", "-save-minutes: want a positive number"},
		{"-save-minutes 1", "-save-minutes: want -out DIR beside it"},
		{"-tensorboard", "-tensorboard: want -out DIR beside it"},
		{"-resume -out x -epochs 0", "-epochs: want at least 1, got 0"},
		{"-resume -out x -keep -1", "-keep: want at least 1, got -1"},
		{"-format csv", "-format: want -predict beside it"},
		{"-predict a.png b.png -top 1", "-predict: want flags before the pictures, got \"-top\" after them"},
		{"-predict a.png ''", "-predict: want the path of a picture or of a folder, got an empty one"},
		{"-out x -format xml -predict a.png", "-format: want one of text, csv, json, got \"xml\""},
		{"-serve :0 -evaluate -out x", "want one of"},
		{"-serve :0", "-serve: want -out DIR"},
		{"-new-head", "-new-head: want -import beside it"},
		{"-width 0.5", "-width: want a -model for ImageNet beside it"},
		{"-size 64 -limit 80", "-size: want -data with a folder of pictures beside it"},
		{"-grey -limit 80", "-grey: want -data with a folder of pictures beside it"},
		{"-size -1", "-size: want a positive number of pixels, got -1"},
		{"-test 0.3 -limit 80", "-test: want -data with a folder of pictures beside it"},
		{"-evaluate -out x -limit -1", "-limit: want 0 (all) or a number of images, got -1"},
		{"-test 1", "-test: want a share from 0 to less than 1, got 1"},
		{"-augment imagenet -limit 80", "-augment imagenet: want -data with a folder of pictures beside it"},
		{"-freeze nonesuch -limit 80", "-freeze: models: want the name of a weight"},
		{"-freeze conv1 -solver stock-adam", "-freeze: want a -solver that is not stock beside it"},
		{"-model imagenet-resnet20 -limit 80", "-model imagenet-resnet20: models:"},
		{"-export a.onnx", "-export: want -out DIR"},
		{"-export a.txt -out x", "-export: want the name of a file that ends in .onnx or .safetensors"},
		{"-letters ABC", "-letters: want -draw beside it"},
		{"-draw x -out y", "-out: want no flags beside -draw but -letters, -limit, -seed"},
		{"-figures x", "-figures: want -evaluate beside it"},
		{"-top 3", "-top: want -predict or -serve beside it"},
		{"-solver adam -momentum 0.5", "-momentum: want -solver sgd or stock-momentum beside it"},
		{"-solver stock-adam -decay 0.1", "-decay: want a -solver that is not stock beside it"},
		{"-solver adam -ambient", "-ambient"},
		{"-ema 0", "-ema: want a number above 0 and below 1, got 0"},
		{"-ema 1", "-ema: want a number above 0 and below 1, got 1"},
		{"-ema NaN", "-ema: want a number above 0 and below 1, got NaN"},
		{"-sam 0", "-sam: want a positive number, got 0"},
		{"-sam NaN", "-sam: want a positive number, got NaN"},
		{"-solver stock-adam -sam 0.05", "-sam: want a -solver that is not stock beside it"},
		{"-model lenet -sync-batch-norm", "-sync-batch-norm: want a -model with batch normalisations beside it"},
		{"-evaluate -out x -checkpoint y", "-out: want no -checkpoint beside it"},
		{"-evaluate -out x -lr 1", "-lr: want no flags beside -evaluate but -out, -checkpoint, -data, -limit, -skip, -figures"},
		{"-predict a.png -out x -data y", "-data: want no flags beside -predict but -out, -checkpoint, -top, -format"},
	} {
		status, stdout, stderr := program(context.Background(), strings.Fields(strings.ReplaceAll(test.args, "''", "\x00"))...)
		assert.Equal(t, 2, status, test.args)
		assert.Empty(t, stdout, test.args)
		oneLine(t, stderr, test.want)
		assert.NoFileExists(t, "x", test.args)
	}
	status, stdout, _ := program(context.Background(), "-help")
	assert.Zero(t, status)
	assert.Contains(t, stdout, "-manifold")
}

func TestFailures(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o666))
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"-data", "nowhere"}, "nowhere"},
		{[]string{"-out", file}, "-out: want a folder, got the file " + file},
		{[]string{"-resume", "-out", "nowhere"}, "want a run in nowhere: "},
		{[]string{"-evaluate", "-out", "nowhere"}, "want a run in nowhere: "},
		{[]string{"-limit", "80", "-epochs", "1", "-lr", "1e30"}, "diverged"},
	} {
		status, _, stderr := program(context.Background(), test.args...)
		assert.Equal(t, 1, status, test.args)
		oneLine(t, stderr, test.want)
	}
}

// The real images, if they are there.
func TestCIFAR10(t *testing.T) {
	root := os.Getenv("KERNELFOLD_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared", "data")
	}
	data := filepath.Join(root, "cifar10")
	if _, err := os.Stat(data); err != nil {
		if os.Getenv("KERNELFOLD_REQUIRE_DATA") == "1" {
			t.Fatalf("want cifar10, as KERNELFOLD_REQUIRE_DATA=1 says, got %v", err)
		}
		t.Skipf("no %s: set KERNELFOLD_DATA to the directory that holds cifar10", data)
	}
	dir := filepath.Join(t.TempDir(), "run")
	status, stdout, stderr := program(context.Background(), "-data", data, "-model", "resnet8", "-limit", "320", "-epochs", "1", "-out", dir)
	require.Zero(t, status, stderr)
	assert.Contains(t, stdout, "cifar10: 288 training, 32 validation and 64 test images of 3x32x32, 10 classes")
	status, stdout, stderr = program(context.Background(), "-out", dir, "-evaluate", "-limit", "640")
	require.Zero(t, status, stderr)
	assert.Contains(t, stdout, "cifar10: 128 test images")
	status, stdout, stderr = program(context.Background(), "-out", dir, "-predict", filepath.Join(dir, "loss.png"), "-top", "10")
	require.Zero(t, status, stderr)
	assert.Contains(t, stdout, "truck")
}

// A run with two passes per step is like any other.
func TestSAM(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	status, stdout, stderr := program(context.Background(), tiny("-epochs", "1", "-sam", "0.05", "-out", dir)...)
	require.Zero(t, status, stderr)
	assert.Contains(t, stdout, "SAM(SGD)")
	status, _, stderr = program(context.Background(), "-out", dir, "-resume", "-epochs", "2")
	require.Zero(t, status, stderr)
	run, err := readRecord(dir)
	require.NoError(t, err)
	assert.Equal(t, 0.05, run.Settings.SAM)
}

// The best file holds the average, which -evaluate uses, and a resumed run continues with its average.
func TestEMA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	status, stdout, stderr := program(context.Background(), tiny("-epochs", "1", "-ema", "0.9", "-sam", "0.05", "-out", dir)...)
	require.Zero(t, status, stderr)
	assert.Contains(t, stdout, "EMA(SAM(SGD))")
	status, _, stderr = program(context.Background(), "-out", dir, "-resume", "-epochs", "2")
	require.Zero(t, status, stderr)
	rows := withoutTime(t, dir)
	best := rows[1]
	if rows[2][9] == "true" {
		best = rows[2]
	}
	status, stdout, stderr = program(context.Background(), "-out", dir, "-evaluate")
	require.Zero(t, status, stderr)
	var loss, accuracy float64
	require.NoError(t, json.Unmarshal([]byte(best[4]), &loss))
	require.NoError(t, json.Unmarshal([]byte(best[5]), &accuracy))
	assert.Contains(t, stdout, fmt.Sprintf("loss %.4f", loss))
	status, stdout, stderr = program(context.Background(), tiny("-epochs", "1", "-ema", "0.9", "-solver", "stock-adam", "-manifold", "none")...)
	require.Zero(t, status, stderr)
	assert.NotContains(t, stdout, "EMA")
}
