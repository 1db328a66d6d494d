// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"image/png"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/examples/internal/cli/clitest"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/models/train/tensorboard"
)

// tiny makes a run of a moment.
var tiny = []string{"-limit", "48", "-batch", "16", "-widths", "2,3"}

func TestMain(m *testing.M) { clitest.Main(m, main) }

func TestOutputLost(t *testing.T) {
	clitest.LosesOutput(t, "compare", append(tiny, "-epochs", "1", "-solvers", "adam")...)
}

func program(ctx context.Context, args ...string) (status int, stdout, stderr string) {
	var out, err bytes.Buffer
	status = run(ctx, args, &out, &err)
	return status, out.String(), err.String()
}

func read(t *testing.T, dir string) *results {
	b, err := os.ReadFile(filepath.Join(dir, "results.json"))
	require.NoError(t, err)
	var r results
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&r))
	return &r
}

func names(t *testing.T, dir string) []string {
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	var n []string
	for _, f := range files {
		n = append(n, f.Name())
	}
	return n
}

var allFiles = []string{"accuracy.png", "loss.png", "membership.png", "results.json"}

func TestRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	status, stdout, stderr := program(context.Background(), append(tiny, "-solvers", "momentum,sgd-stiefel,constrain-adam-sphere-slice", "-epochs", "3", "-out", dir)...)
	require.Zero(t, status, stderr)
	assert.Empty(t, stderr, "no progress bar where there is no terminal")
	assert.Contains(t, stdout, "digits: 48 training and 10 test images of 1x20x20, 10 classes")
	for _, s := range []string{"\nmomentum ", "\nsgd-stiefel ", "\nconstrain-adam-sphere-slice ", "accuracy  ", "loss", "seconds", "membership  ", "wrote " + filepath.Join(dir, "results.json")} {
		assert.Contains(t, stdout, s)
	}

	assert.Equal(t, allFiles, names(t, dir))
	r := read(t, dir)
	assert.Equal(t, []string{"momentum", "sgd-stiefel", "constrain-adam-sphere-slice"}, r.Settings.Solvers)
	assert.Equal(t, rates["momentum"], r.Settings.LearnRates["momentum"])
	assert.Equal(t, "v0.9.18", r.Versions["gorgonia"])
	require.Len(t, r.Solvers, 3)
	for i, want := range []solverJSON{
		{Name: "momentum", Manifold: "Euclidean", Stock: true},
		{Name: "sgd-stiefel", Manifold: "Stiefel", Grouping: "filter bank"},
		{Name: "constrain-adam-sphere-slice", Manifold: "Sphere", Grouping: "per slice"},
	} {
		s := r.Solvers[i]
		assert.Equal(t, want, solverJSON{Name: s.Name, Manifold: s.Manifold, Grouping: s.Grouping, Stock: s.Stock})
		require.Len(t, s.Epochs, 3)
		last, seconds := s.Epochs[2], 0.0
		for _, e := range s.Epochs {
			assert.True(t, e.Accuracy >= 0 && e.Accuracy <= 1)
			assert.Positive(t, e.Loss)
			assert.Positive(t, e.Seconds)
			seconds += e.Seconds
		}
		assert.Equal(t, last.Accuracy, s.TestAccuracy)
		assert.Equal(t, last.Loss, s.FinalLoss)
		assert.Equal(t, last.Membership, s.Membership)
		assert.InDelta(t, seconds, s.Seconds, 1e-9)
		if s.constrained() {
			assert.Less(t, s.Membership, 1e-5)
		} else {
			assert.Greater(t, s.Membership, 1e-2)
		}
	}
	for _, name := range allFiles[:3] {
		f, err := os.Open(filepath.Join(dir, name))
		require.NoError(t, err)
		im, err := png.Decode(f)
		f.Close()
		require.NoError(t, err)
		assert.Equal(t, 1080, im.Bounds().Dx())
	}
}

// With -tensorboard each solver has an event file of its own.
func TestTensorBoard(t *testing.T) {
	dir := t.TempDir()
	status, stdout, stderr := program(context.Background(), append(tiny, "-solvers", "adam,sgd-stiefel", "-epochs", "1", "-tensorboard", "-out", dir)...)
	require.Zero(t, status, stderr)
	assert.Contains(t, stdout, "; tensorboard --logdir "+filepath.Join(dir, "events"))
	for _, solver := range []string{"adam", "sgd-stiefel"} {
		paths, err := filepath.Glob(filepath.Join(dir, "events", solver, "events.out.tfevents.*"))
		require.NoError(t, err)
		require.Len(t, paths, 1)
		b, err := os.ReadFile(paths[0])
		require.NoError(t, err)
		assert.Contains(t, string(b), "loss/batch")
	}
	status, _, stderr = program(context.Background(), "-tensorboard")
	assert.Equal(t, 2, status)
	assert.Contains(t, stderr, "-tensorboard: want -out DIR beside it")
}

// TestSchema checks the names that other programs read.
func TestSchema(t *testing.T) {
	dir := t.TempDir()
	status, _, stderr := program(context.Background(), append(tiny, "-solvers", "adam", "-epochs", "1", "-out", dir)...)
	require.Zero(t, status, stderr)
	b, err := os.ReadFile(filepath.Join(dir, "results.json"))
	require.NoError(t, err)
	var top map[string]any
	require.NoError(t, json.Unmarshal(b, &top))
	keys := func(v any) []string {
		var k []string
		for name := range v.(map[string]any) {
			k = append(k, name)
		}
		sort.Strings(k)
		return k
	}
	assert.Equal(t, []string{"settings", "solvers", "versions"}, keys(top))
	solver := top["solvers"].([]any)[0]
	assert.Equal(t, []string{"epochs", "final_loss", "grouping", "manifold", "membership_error", "name", "seconds", "stock", "test_accuracy"}, keys(solver))
	assert.Equal(t, []string{"accuracy", "loss", "membership_error", "seconds"}, keys(solver.(map[string]any)["epochs"].([]any)[0]))
	for _, k := range []string{"data", "epochs", "batch", "seed", "limit", "solvers", "learning_rates"} {
		assert.Contains(t, top["settings"], k)
	}
}

// withoutTime drops what differs from run to run.
func withoutTime(r *results) []solverJSON {
	for i := range r.Solvers {
		r.Solvers[i].Seconds = 0
		for k := range r.Solvers[i].Epochs {
			r.Solvers[i].Epochs[k].Seconds = 0
		}
	}
	return r.Solvers
}

// TestSameStart: the same seed gives the same numbers, whatever else is compared, and
// another seed gives others; a solver that is textbook momentum on Euclidean parameters follows the
// stock one, as it can only from the same weights on the same batches.
func TestSameStart(t *testing.T) {
	get := func(solvers, seed string) []solverJSON {
		dir := t.TempDir()
		status, _, stderr := program(context.Background(), append(tiny, "-solvers", solvers, "-epochs", "2", "-lr", "0.02", "-seed", seed, "-out", dir)...)
		require.Zero(t, status, stderr)
		return withoutTime(read(t, dir))
	}
	both := get("momentum,sgd-euclidean", "5")
	assert.Equal(t, both[1:], get("sgd-euclidean", "5"))
	assert.NotEqual(t, both[0].FinalLoss, get("momentum", "6")[0].FinalLoss)
	for i := range both[0].Epochs {
		assert.InEpsilon(t, both[0].Epochs[i].Loss, both[1].Epochs[i].Loss, 1e-4)
	}
}

func TestUsage(t *testing.T) {
	data := t.TempDir()
	for name, test := range map[string]struct {
		args []string
		want []string
	}{
		"unknown flag":         {[]string{"-foo"}, []string{"-foo"}},
		"bad number":           {[]string{"-epochs", "x"}, []string{"-epochs", "x"}},
		"argument":             {[]string{"data"}, []string{`"data"`}},
		"unknown solver":       {[]string{"-solvers", "momentum,nonesuch"}, []string{`"nonesuch"`, "-solvers list"}},
		"no solver":            {[]string{"-solvers", ""}, []string{`""`}},
		"solver twice":         {[]string{"-solvers", "adam,sgd-sphere,adam"}, []string{`"adam" twice`}},
		"grouping of nothing":  {[]string{"-solvers", "sgd-euclidean-slice"}, []string{"sgd-euclidean-slice"}},
		"no epochs":            {[]string{"-epochs", "0"}, []string{"-epochs", "got 0"}},
		"no batch":             {[]string{"-batch", "0"}, []string{"-batch", "got 0"}},
		"batch over data":      {[]string{"-batch", "49", "-limit", "48"}, []string{"-batch", "48", "49"}},
		"negative limit":       {[]string{"-limit", "-1"}, []string{"-limit", "got -1"}},
		"limit beyond memory":  {[]string{"-limit", fmt.Sprint(math.MaxInt)}, []string{"-limit", "want at most 671088 images"}},
		"zero rate":            {[]string{"-lr", "0"}, []string{"-lr", `"0"`}},
		"negative rate":        {[]string{"-lr", "-1"}, []string{"-lr", `"-1"`}},
		"infinite rate":        {[]string{"-lr", "Inf"}, []string{"-lr", `"Inf"`}},
		"rate is no number":    {[]string{"-lr", "nan"}, []string{"-lr", `"nan"`}},
		"rate of no solver":    {[]string{"-lr", "vanilla=0.1"}, []string{"-lr", `"vanilla"`}},
		"two rates":            {[]string{"-lr", "0.1,0.2"}, []string{"-lr"}},
		"bad widths":           {[]string{"-widths", "8,x"}, []string{"-widths", `"8,x"`}},
		"too many widths":      {[]string{"-widths", "1,1,1,1,1", "-limit", "48"}, []string{"-widths", "20x20"}},
		"rate twice":           {[]string{"-solvers", "adam", "-lr", "adam=0.1,adam=0.2"}, []string{"-lr", `second one for "adam"`}},
		"no rate":              {[]string{"-lr", ""}, []string{"-lr", "empty"}},
		"no widths":            {[]string{"-widths", ""}, []string{"-widths", "empty"}},
		"too many epochs":      {[]string{"-epochs", "1000000000000000"}, []string{"-epochs: want 1 to 1000000"}},
		"negative seed":        {[]string{"-seed", "-1"}, []string{"-seed"}},
		"list and more":        {[]string{"-solvers", "list", "-epochs", "2"}, []string{"-solvers list: want no other flags"}},
		"empty data directory": {[]string{"-data", ""}, []string{"-data", "empty"}},
		"empty out directory":  {[]string{"-out", ""}, []string{"-out", "empty"}},
		"results among data":   {[]string{"-data", data, "-out", filepath.Join(data, "x")}, []string{"-out: want a place outside of -data, " + data}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "out")
			args := test.args
			if name != "empty out directory" {
				args = append([]string{"-out", dir}, args...)
			}
			status, stdout, stderr := program(context.Background(), args...)
			assert.Equal(t, 2, status)
			assert.Empty(t, stdout)
			oneLine(t, stderr, test.want...)
			assert.NoDirExists(t, dir)
		})
	}
}

func oneLine(t *testing.T, stderr string, want ...string) {
	t.Helper()
	assert.True(t, strings.HasPrefix(stderr, "compare: "), stderr)
	assert.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	assert.NotContains(t, stderr, "goroutine")
	for _, w := range want {
		assert.Contains(t, stderr, w)
	}
}

// fashion writes the files of a sound set of n training and n test images of 8x8.
func fashion(t *testing.T, n int) string {
	dir := t.TempDir()
	for _, part := range []string{"train", "t10k"} {
		im := binary.BigEndian.AppendUint32(nil, 0x803)
		for _, d := range []int{n, 8, 8} {
			im = binary.BigEndian.AppendUint32(im, uint32(d))
		}
		la := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 0x801), uint32(n))
		for i := range n {
			for k := range 64 {
				im = append(im, byte(i%10*20+k%8))
			}
			la = append(la, byte(i%10))
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, part+"-images-idx3-ubyte"), im, 0o666))
		require.NoError(t, os.WriteFile(filepath.Join(dir, part+"-labels-idx1-ubyte"), la, 0o666))
	}
	return dir
}

func TestBadData(t *testing.T) {
	images := "train-images-idx3-ubyte"
	for name, test := range map[string]struct {
		spoil func(dir string) error
		want  []string
	}{
		"missing directory": {func(dir string) error { return os.RemoveAll(dir) }, []string{"no such file"}},
		"empty directory":   {func(dir string) error { os.RemoveAll(dir); return os.Mkdir(dir, 0o777) }, []string{images, "data_batch_1.bin"}},
		"truncated":         {func(dir string) error { return os.Truncate(filepath.Join(dir, images), 100) }, []string{images, "want 2560 bytes"}},
		"wrong magic":       {func(dir string) error { return os.WriteFile(filepath.Join(dir, images), make([]byte, 3000), 0o666) }, []string{images, "magic number"}},
		"corrupt gz": {func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, images)), os.WriteFile(filepath.Join(dir, images+".gz"), []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xff\xff\xff"), 0o666))
		}, []string{images + ".gz", "gzip"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir, out := fashion(t, 40), filepath.Join(t.TempDir(), "out")
			require.NoError(t, test.spoil(dir))
			status, stdout, stderr := program(context.Background(), "-data", dir, "-out", out)
			assert.Equal(t, 1, status)
			assert.Empty(t, stdout)
			oneLine(t, stderr, append(test.want, filepath.Base(dir))...)
			assert.NoDirExists(t, out)
		})
	}
	status, _, stderr := program(context.Background(), "-data", fashion(t, 40), "-batch", "41")
	assert.Equal(t, 2, status)
	oneLine(t, stderr, "want at most the 40 training images, got 41")
}

func TestData(t *testing.T) {
	out := t.TempDir()
	status, stdout, stderr := program(context.Background(), "-data", fashion(t, 60), "-solvers", "adam,sgd-sphere", "-limit", "50", "-batch", "10", "-widths", "4", "-epochs", "2", "-out", out)
	require.Zero(t, status, stderr)
	assert.Contains(t, stdout, "50 training and 10 test images of 1x8x8")
	assert.Equal(t, 50, read(t, out).Settings.TrainImages)
}

func TestUnwritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o666))
	status, stdout, stderr := program(context.Background(), append(tiny, "-out", file)...)
	assert.Equal(t, 1, status)
	assert.Empty(t, stdout, "found before training")
	oneLine(t, stderr, "-out", "file")
}

// TestDiverged: a solver that diverges is named and the others are reported.
func TestDiverged(t *testing.T) {
	dir := t.TempDir()
	args := append(tiny, "-epochs", "4", "-out", dir)
	status, stdout, stderr := program(context.Background(), append(args, "-solvers", "momentum,sgd-sphere", "-lr", "momentum=1e20,sgd-sphere=0.01")...)
	assert.Equal(t, 1, status)
	oneLine(t, stderr, "momentum with learning rate 1e+20: diverged at step")
	assert.NotContains(t, stderr, "sgd-sphere")
	assert.Contains(t, stdout, "failed")
	r := read(t, dir)
	require.Len(t, r.Solvers, 1)
	assert.Equal(t, "sgd-sphere", r.Solvers[0].Name)
	require.Len(t, r.Failed, 1)
	assert.Equal(t, "momentum", r.Failed[0].Name)

	// On a sphere nothing overflows, but the linear layer is free.
	status, _, stderr = program(context.Background(), append(args, "-solvers", "sgd-sphere", "-lr", "1e8")...)
	assert.Equal(t, 1, status)
	oneLine(t, stderr, "sgd-sphere with learning rate 1e+08: diverged in epoch 1", "want a mean loss below 230")

	// When nothing is left to report, the files stay as they were.
	before, err := os.ReadFile(filepath.Join(dir, "results.json"))
	require.NoError(t, err)
	status, _, stderr = program(context.Background(), append(args, "-solvers", "momentum,vanilla", "-lr", "1e12")...)
	assert.Equal(t, 1, status)
	oneLine(t, stderr, "momentum with learning rate 1e+12", "vanilla with learning rate 1e+12")
	after, err := os.ReadFile(filepath.Join(dir, "results.json"))
	require.NoError(t, err)
	assert.Equal(t, before, after)
	assert.Equal(t, allFiles, names(t, dir))
}

// countdown is a context that is cancelled when it has been asked so many times:
// training asks before each step and each batch of the evaluation.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

func TestInterrupt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	args := append(tiny, "-epochs", "2", "-solvers", "adam,momentum,sgd-sphere", "-out", dir)
	// An epoch asks 3+1 times and a solver 1+2 times: 11 for adam, then one epoch of momentum.
	ctx := &countdown{context.Background(), 11 + 3 + 4 + 2}
	status, stdout, stderr := program(ctx, args...)
	assert.Equal(t, 1, status)
	oneLine(t, stderr, "interrupted after 3 of 6 epochs; they are kept in "+dir)
	assert.Contains(t, stdout, "wrote "+dir)
	r := read(t, dir)
	assert.True(t, r.Interrupted)
	require.Len(t, r.Solvers, 2)
	assert.Len(t, r.Solvers[0].Epochs, 2)
	assert.Len(t, r.Solvers[1].Epochs, 1)
	assert.Empty(t, r.Failed)

	status, stdout, stderr = program(&countdown{context.Background(), 11 + 3 + 4 + 2}, args[:len(args)-2]...)
	assert.Equal(t, 1, status)
	oneLine(t, stderr, "interrupted after 3 of 6 epochs; nothing is kept without -out DIR")
	assert.Contains(t, stdout, "momentum")

	// Before the first epoch is over there is nothing to show.
	before, err := os.ReadFile(filepath.Join(dir, "results.json"))
	require.NoError(t, err)
	status, stdout, stderr = program(&countdown{context.Background(), 3}, args...)
	assert.Equal(t, 1, status)
	assert.Empty(t, stdout)
	oneLine(t, stderr, "interrupted before the first epoch was complete")
	after, err := os.ReadFile(filepath.Join(dir, "results.json"))
	require.NoError(t, err)
	assert.Equal(t, before, after)
}

// The table is printed if the files cannot be written.
func TestTableIsKept(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "results.json", "full"), 0o777))
	status, stdout, stderr := program(context.Background(), append(tiny, "-solvers", "adam", "-epochs", "1", "-out", dir)...)
	assert.Equal(t, 1, status)
	oneLine(t, stderr, "-out: ", "results.json")
	assert.Regexp(t, `(?m)^adam +0\.`, stdout)
	assert.NotContains(t, stdout, "wrote")
}

// An event file that cannot be completed when the run is interrupted is reported beside the interruption, and so is one of a run that has
// completed no epoch. Results are kept as without it.
func TestInterruptFullDisk(t *testing.T) {
	record = func(dir string, net models.Trainable, solver gorgonia.Solver) train.Hook {
		h := tensorboard.New(dir, net, solver)
		end := h.End
		h.End = func() error {
			return errors.Join(end(), &fs.PathError{Op: "close", Path: dir, Err: errors.New("disk full")})
		}
		return h
	}
	defer func() { record = tensorboard.New }()
	for _, test := range []struct {
		after  int // questions of the countdown
		epochs int
		want   string
	}{
		{3 + 1 + 3, 1, "interrupted after 1 of 2 epochs; they are kept in "},
		{3, 0, "interrupted before the first epoch was complete; "},
	} {
		dir := filepath.Join(t.TempDir(), "out")
		status, _, stderr := program(&countdown{context.Background(), test.after}, append(tiny, "-epochs", "2", "-solvers", "adam", "-tensorboard", "-out", dir)...)
		assert.Equal(t, 1, status)
		oneLine(t, stderr, test.want, "the events for TensorBoard are incomplete: close ", ": disk full")
		if test.epochs > 0 {
			r := read(t, dir)
			require.Len(t, r.Solvers, 1)
			assert.Len(t, r.Solvers[0].Epochs, test.epochs)
			assert.Empty(t, r.Failed)
		}
	}
}

func TestListAndHelp(t *testing.T) {
	status, stdout, stderr := program(context.Background(), "-solvers", "list")
	assert.Zero(t, status)
	assert.Empty(t, stderr)
	for _, name := range strings.Split(defaultSolvers, ",") {
		e, err := lookup(name)
		require.NoError(t, err)
		assert.Regexp(t, fmt.Sprintf(`(?m)^%s +%g `, name, e.rate), stdout)
	}
	for line := range strings.Lines(stdout) {
		assert.LessOrEqual(t, len(line), 81, line)
	}
	status, stdout, stderr = program(context.Background(), "-help")
	assert.Zero(t, status)
	assert.Empty(t, stderr)
	for _, f := range []string{"data", "solvers", "epochs", "batch", "lr", "seed", "limit", "out"} {
		assert.Contains(t, stdout, "  -"+f+" ")
	}
}

// TestEverySolver runs each name of the list, and each grouping, for an epoch.
func TestEverySolver(t *testing.T) {
	var all []string
	for _, s := range cli.Stock {
		all = append(all, s.Name)
	}
	for _, f := range families() {
		for _, k := range cli.Manifolds {
			all = append(all, f.name+"-"+k.Name)
			if f.name != "sgd" || k.Name == "euclidean" {
				continue
			}
			for _, g := range cli.Groupings {
				if k.Name == "oblique" && g.Name == "tap" {
					continue // of one input channel: points of dimension 0
				}
				if k.Name == "orthogonal" && g.Name != "slice" {
					continue // not square
				}
				if k.Name == "grassmann" && (g.Name == "tap" || g.Name == "slice") {
					continue // square points, of dimension 0
				}
				all = append(all, f.name+"-"+k.Name+"-"+g.Name)
			}
		}
	}
	dir := t.TempDir()
	status, _, stderr := program(context.Background(), append(tiny, "-widths", "3,3", "-epochs", "1", "-solvers", strings.Join(all, ","), "-out", dir)...)
	assert.Zero(t, status, stderr)
	r := read(t, dir)
	assert.Len(t, r.Solvers, len(all))
	for _, s := range r.Solvers {
		e, err := lookup(s.Name)
		require.NoError(t, err)
		assert.Positive(t, e.rate, s.Name)
		assert.False(t, math.IsNaN(s.FinalLoss), s.Name)
		if s.constrained() {
			assert.Less(t, s.Membership, 1e-5, s.Name)
		}
	}
}

// TestUnfit: a constraint that does not fit the net is one line too.
func TestUnfit(t *testing.T) {
	status, _, stderr := program(context.Background(), append(tiny, "-epochs", "1", "-solvers", "sgd-oblique-tap")...)
	assert.Equal(t, 1, status)
	oneLine(t, stderr, "sgd-oblique-tap", "conv1.weight")
}

// TestFashionMNIST: the default solvers learn real images. 1000 images in two
// epochs are few; ten classes at chance are right in 0.1 of the cases.
func TestFashionMNIST(t *testing.T) {
	root := os.Getenv("KERNELFOLD_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared", "data")
	}
	dir := filepath.Join(root, "fashion-mnist")
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("KERNELFOLD_REQUIRE_DATA") == "1" {
			t.Fatalf("want fashion-mnist, as KERNELFOLD_REQUIRE_DATA=1 says, got %v", err)
		}
		t.Skipf("no %s: set KERNELFOLD_DATA to the directory that holds fashion-mnist", dir)
	}
	if testing.Short() {
		t.Skip("-short")
	}
	out := t.TempDir()
	status, _, stderr := program(context.Background(), "-data", dir, "-limit", "1000", "-batch", "16", "-epochs", "2", "-out", out)
	require.Zero(t, status, stderr)
	r := read(t, out)
	assert.Equal(t, "fashion-mnist", r.Settings.Data)
	assert.Equal(t, [2]int{1000, 200}, [2]int{r.Settings.TrainImages, r.Settings.TestImages})
	for _, s := range r.Solvers {
		assert.Greater(t, s.TestAccuracy, 0.55, s.Name)
		assert.Less(t, s.Epochs[1].Loss, s.Epochs[0].Loss, s.Name)
	}
}

// TestBatchNorm runs the other net.
func TestBatchNorm(t *testing.T) {
	status, stdout, stderr := program(context.Background(), append(tiny, "-epochs", "1", "-solvers", "sgd-stiefel", "-batchnorm")...)
	require.Zero(t, status, stderr)
	assert.Contains(t, stdout, "with batch norm")
}
