// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/models"
)

// command is the command line.
type command struct {
	settings
	out      string
	resume   bool
	evaluate bool
	predict  string
	file     string // a checkpoint
	top      int
	format   string
	serve    string // an address
	export   string // a file
	draw     string // a folder
	letters  string
	figures  string
	pictures []string        // to predict: files and folders
	given    map[string]bool // flags on the command line
	note     string          // a message for the beginning of the run
	classes  []string        // of a resumed run
	planned  int             // the earlier number of epochs of a resumed run, if it has changed
}

// settings holds everything that determines a run. run.json keeps it.
type settings struct {
	Data       string  `json:"data"`
	Limit      int     `json:"limit"`
	Validation float64 `json:"validation"`
	Model      string  `json:"model"`
	Solver     string  `json:"solver"`
	Manifold   string  `json:"manifold"`
	Grouping   string  `json:"grouping"`
	LearnRate  float64 `json:"learning_rate"`
	Momentum   float64 `json:"momentum"`
	Ambient    bool    `json:"ambient_momentum,omitempty"`
	Decay      float64 `json:"decay"`
	SAM        float64 `json:"sam,omitempty"`
	EMA        float64 `json:"ema,omitempty"`
	Schedule   string  `json:"schedule"`
	Epochs     int     `json:"epochs"`
	Patience   int     `json:"patience"`
	Batch      int     `json:"batch"`
	Augment    string  `json:"augment"`
	Seed       uint64  `json:"seed"`

	SyncBatchNorm bool `json:"sync_batch_norm"`

	// For folders of pictures.
	Size         int     `json:"size,omitempty"`
	Grey         bool    `json:"grey,omitempty"`
	Labels       string  `json:"labels,omitempty"`
	Test         float64 `json:"test,omitempty"`
	ClassWeights bool    `json:"class_weights,omitempty"`
	Skip         bool    `json:"skip,omitempty"`

	Width    float64 `json:"width,omitempty"`
	Shortcut string  `json:"shortcut,omitempty"`
	Import   string  `json:"import,omitempty"`
	NewHead  bool    `json:"new_head,omitempty"`
	Freeze   string  `json:"freeze,omitempty"`

	Keep        int     `json:"keep,omitempty"`
	SaveSteps   int     `json:"save_steps,omitempty"`
	SaveMinutes float64 `json:"save_minutes,omitempty"`

	TensorBoard bool `json:"tensorboard,omitempty"`
}

// parse reads the command line. Help goes to stdout.
func parse(args []string, stdout io.Writer) (*command, error) {
	var c command
	f := flag.NewFlagSet("classify", flag.ContinueOnError)
	f.StringVar(&c.Data, "data", "", "read images from `DIR` (a folder of pictures with a sub-folder for each class, or with train and test, each with such sub-folders; or CIFAR-10, CIFAR-100, MNIST or Fashion-MNIST as distributed) instead of drawing digits")
	f.IntVar(&c.Size, "size", 0, "side in `pixels` to which pictures of a folder are scaled and cropped (default: 224 for nets for ImageNet, 32 for others)")
	f.BoolVar(&c.Grey, "grey", false, "make pictures of a folder grey")
	f.StringVar(&c.Labels, "labels", "", "CSV `FILE` of names and labels of the pictures in -data (default: sub-folders are classes)")
	f.Float64Var(&c.Test, "test", 0.1, "`share` of the pictures of a folder that are test images, unless it has its own")
	f.BoolVar(&c.ClassWeights, "class-weights", false, "weight pictures of a folder by the inverse frequency of their class")
	f.BoolVar(&c.Skip, "skip", false, "put the next picture of the class in place of a broken one in a folder, and name it, instead of ending")
	f.IntVar(&c.Limit, "limit", 0, "training images used, and a fifth as many test images (default: all; of drawn digits 4000 and 800)")
	f.Float64Var(&c.Validation, "validation", 0.1, "`share` of the training images held out, by which the best epoch is chosen")
	f.StringVar(&c.Model, "model", "resnet20", "`net`: "+modelNames)
	f.StringVar(&c.Shortcut, "shortcut", "", "`kind` of the shortcuts of a residual net that change shape: "+strings.Join(shortcutNames, ", ")+" (default: zeros)")
	f.Float64Var(&c.Width, "width", 0, "`factor` of the number of channels of a net for ImageNet (default: 1)")
	f.StringVar(&c.Import, "import", "", "begin with the weights in `FILE`, a state_dict of PyTorch as safetensors, or with those of the run in a folder; with -evaluate, evaluate them")
	f.BoolVar(&c.NewHead, "new-head", false, "leave out the last layer of -import, which is for other classes")
	f.StringVar(&c.Freeze, "freeze", "", "`parts` of the net whose weights stay as they are, such as conv1,bn1,layer1")
	f.StringVar(&c.Solver, "solver", "sgd", "`name`: "+strings.Join(solverNames(), ", "))
	f.StringVar(&c.Manifold, "manifold", "stiefel", "manifold of the convolution kernels: "+strings.Join(cli.Names(kinds), ", ")+", or an ensemble such as "+cli.EnsembleSyntax)
	f.StringVar(&c.Grouping, "grouping", "default", "how a kernel is cut into points: "+strings.Join(cli.Names(groupings), ", "))
	f.Float64Var(&c.LearnRate, "lr", 0, "learning `rate` (default: each solver its own)")
	f.Float64Var(&c.Momentum, "momentum", 0.9, "momentum of sgd and stock-momentum")
	f.BoolVar(&c.Ambient, "ambient", false, "keep the momentum of sgd in the ambient space, as in the paper, instead of the tangent spaces")
	f.Float64Var(&c.Decay, "decay", 1e-4, "weight decay of parameters on no manifold, for every solver that is not stock")
	f.Float64Var(&c.SAM, "sam", 0, "sharpness-aware minimisation: take gradients at the highest cost within `RHO` of the weights, in two passes a step, such as 0.05 (default: off)")
	f.Float64Var(&c.EMA, "ema", 0, "evaluate, and keep as the best, a moving average of the weights of this `DECAY`, such as 0.999 (default: the weights)")
	f.StringVar(&c.Schedule, "schedule", "step", "schedule of the learning rate: "+strings.Join(scheduleNames, ", ")+"; step divides it by 10 after half and three quarters of the epochs")
	f.IntVar(&c.Epochs, "epochs", 0, "passes over the training images (default: 30, of drawn digits 8)")
	f.IntVar(&c.Patience, "patience", 0, "end after so many `epochs` without a better one (default: never)")
	f.IntVar(&c.Batch, "batch", 64, "images in a step, of all ranks together")
	f.StringVar(&c.Augment, "augment", "default", "how training images are varied: default (cropflip for colour images, none for others), none, crop, cropflip; pictures of a folder by default as by cropflip, by crops of 35 to 100 % of the area, or imagenet, of 8 to 100 %")
	f.Uint64Var(&c.Seed, "seed", 1, "seed of the initial weights, the order of the images and their augmentation")
	f.BoolVar(&c.SyncBatchNorm, "sync-batch-norm", false, "normalise by mean and variance of the whole batch instead of each rank's part")
	f.StringVar(&c.out, "out", "", "keep the run in `DIR`: checkpoints, logs and plots (default: nothing is written)")
	f.IntVar(&c.Keep, "keep", 0, "`checkpoints` of the run that are kept in -out (default: 2)")
	f.IntVar(&c.SaveSteps, "save-steps", 0, "save the run after so many `steps` too (default: after each epoch)")
	f.Float64Var(&c.SaveMinutes, "save-minutes", 10, "save the run after so many `minutes` too")
	f.BoolVar(&c.TensorBoard, "tensorboard", false, "write event files for TensorBoard to OUT/events: losses, rates, kernels, their singular values")
	f.BoolVar(&c.resume, "resume", false, "continue the run in -out, with its settings; -epochs may differ, but not be fewer than are complete, and -data and -labels say where the data are now")
	f.BoolVar(&c.evaluate, "evaluate", false, "evaluate the net in -out on the test images of its run, or of -data: accuracy, measures of each class, and which class is taken for which")
	f.StringVar(&c.figures, "figures", "", "`DIR` for confusion.png and worst.png of -evaluate (default: that of the run; with -import none)")
	f.StringVar(&c.predict, "predict", "", "classify the picture `FILE`, or those in a folder, by the net in -out; others may follow")
	f.StringVar(&c.serve, "serve", "", "answer requests over HTTP at `ADDRESS`, such as :8080, of this machine alone unless it names a host, until Ctrl-C")
	f.StringVar(&c.export, "export", "", "write the net in -out, with plain kernels, to `FILE`, which ends in .onnx or .safetensors; batch normalisations become part of the kernels, unless they come before them, as in wrn")
	f.StringVar(&c.draw, "draw", "", "draw pictures of letters and digits to the new or empty folder `DIR`, to try -data with, -limit of each (default: 50)")
	f.StringVar(&c.letters, "letters", "", "those that -draw draws, such as ABC (default: 34)")
	f.StringVar(&c.file, "checkpoint", "", "the `FILE` to evaluate, predict, serve or export (default: best.safetensors in -out); run.json lies beside it")
	f.IntVar(&c.top, "top", 3, "classes that -predict and -serve tell for each picture")
	f.StringVar(&c.format, "format", "text", "how -predict writes them: "+strings.Join(cli.Names(formats), ", "))
	if err := cli.Parse(f, args, stdout, "classify trains a net on images, evaluates it, and classifies pictures by it.",
		"go run ./examples/classify -out run                     # digits that it draws",
		"go run ./examples/classify -data DIR -out run -tensorboard",
		"go run ./examples/classify -data PICTURES -import RUN -new-head -out run",
		"go run ./examples/classify -out run -resume",
		"go run ./examples/classify -out run -predict cat.jpg",
		"go run ./examples/classify -out run -format csv -predict dog.jpg folder",
		"go run ./examples/classify -out run -serve :8080"); err != nil {
		return nil, err
	}
	c.given = cli.Given(f)
	switch {
	case c.predict != "":
		var err error
		if c.pictures, err = picturesOf(c.predict, f.Args()); err != nil {
			return nil, err
		}
	case f.NArg() > 0:
		return nil, cli.Usage("want flags only, got %q", f.Arg(0))
	}
	return &c, c.check()
}

// savingFlags are the flags that determine when a run is saved, and what else is kept.
var savingFlags = []string{"keep", "save-steps", "save-minutes", "tensorboard"}

// check rejects combinations of flags that make no sense.
func (c *command) check() error {
	modes := 0
	for _, on := range []bool{c.resume, c.evaluate, c.predict != "", c.serve != "", c.export != "", c.draw != ""} {
		if on {
			modes++
		}
	}
	var allowed []string // flags, of which the first says what to do
	switch {
	case modes > 1:
		return cli.Usage("want one of -resume, -evaluate, -predict, -serve, -export and -draw, got several")
	case modes == 0:
		return c.checkNew()
	case c.resume:
		allowed = append([]string{"resume", "out", "epochs", "skip", "data", "labels"}, savingFlags...)
	case c.evaluate && c.Import != "":
		allowed = []string{"evaluate", "import", "model", "width", "shortcut", "data", "size", "grey", "labels", "test", "skip", "limit", "seed", "figures"}
	case c.evaluate:
		allowed = []string{"evaluate", "out", "checkpoint", "data", "limit", "skip", "figures"}
	case c.draw != "":
		allowed = []string{"draw", "letters", "limit", "seed"}
	case c.export != "":
		allowed = []string{"export", "out", "checkpoint"}
	case c.serve != "":
		allowed = []string{"serve", "out", "checkpoint", "top"}
	default:
		allowed = []string{"predict", "out", "checkpoint", "top", "format"}
	}
	for _, name := range slices.Sorted(maps.Keys(c.given)) {
		if !slices.Contains(append(allowed, "resume", "evaluate", "predict", "serve", "export", "draw"), name) {
			return cli.Usage("-%s: want no flags beside -%s but -%s", name, allowed[0], strings.Join(allowed[1:], ", -"))
		}
	}
	switch {
	case c.draw == "" && c.out == "" && c.Import == "" && (c.file == "" || c.resume):
		return cli.Usage("-%s: want -out DIR, where the run is", allowed[0])
	case c.out != "" && c.file != "":
		return cli.Usage("-out: want no -checkpoint beside it, whose run is in its own directory")
	case c.top < 1:
		return cli.Usage("-top: want at least 1, got %d", c.top)
	}
	return c.checkZeros()
}

// checkNew rejects flags that make no sense for a new run, including those without effect.
func (c *command) checkNew() error {
	only := func(flag, want string) error { return cli.Usage("-%s: want %s beside it", flag, want) }
	for _, name := range savingFlags {
		if c.given[name] && c.out == "" {
			return only(name, "-out DIR")
		}
	}
	switch momentum := c.Solver == "sgd" || c.Solver == "stock-momentum"; {
	case c.given["checkpoint"]:
		return only("checkpoint", "-evaluate, -predict, -serve or -export")
	case c.given["letters"]:
		return only("letters", "-draw")
	case c.given["format"]:
		return only("format", "-predict")
	case c.given["figures"]:
		return only("figures", "-evaluate")
	case c.given["top"]:
		return only("top", "-predict or -serve")
	case c.NewHead && c.Import == "":
		return only("new-head", "-import")
	case c.given["width"] && !c.forImageNet():
		return only("width", "a -model for ImageNet")
	case c.given["width"] && c.Width == 0:
		return cli.Usage("-width: want a positive number, got 0")
	case c.given["size"] && c.Size == 0:
		return cli.Usage("-size: want a positive number of pixels, got 0")
	case c.Freeze != "" && !c.ours():
		return only("freeze", "a -solver that is not stock")
	case c.given["momentum"] && !momentum:
		return only("momentum", "-solver sgd or stock-momentum")
	case c.given["decay"] && !c.ours():
		return only("decay", "a -solver that is not stock")
	case c.SyncBatchNorm && c.Model == "lenet":
		return only("sync-batch-norm", "a -model with batch normalisations")
	case c.given["sam"] && !c.ours():
		return only("sam", "a -solver that is not stock")
	case c.given["sam"] && c.SAM == 0:
		return cli.Usage("-sam: want a positive number, got 0")
	case c.given["ema"] && c.EMA == 0:
		return cli.Usage("-ema: want a number above 0 and below 1, got 0")
	case c.given["lr"] && c.LearnRate == 0:
		return cli.Usage("-lr: want a positive number, got 0")
	}
	if err := c.checkZeros(); err != nil {
		return err
	}
	return c.settings.check()
}

// checkZeros rejects an explicit zero for flags where zero stands for the default.
func (c *command) checkZeros() error {
	for _, n := range []struct {
		flag  string
		value float64
	}{
		{"epochs", float64(c.Epochs)}, {"patience", float64(c.Patience)}, {"keep", float64(c.Keep)}, {"save-steps", float64(c.SaveSteps)},
	} {
		if c.given[n.flag] && n.value < 1 {
			return cli.Usage("-%s: want at least 1, got %g", n.flag, n.value)
		}
	}
	if c.given["save-minutes"] && !(c.SaveMinutes > 0) {
		return cli.Usage("-save-minutes: want a positive number, got %g", c.SaveMinutes)
	}
	return c.checkLimits()
}

// The largest accepted numbers: beyond them steps and times would overflow.
const (
	mostEpochs  = 1_000_000
	mostMinutes = 1e6
)

func (s *settings) checkLimits() error {
	switch {
	case s.Limit < 0:
		return cli.Usage("-limit: want 0 (all) or a number of images, got %d", s.Limit)
	case s.Epochs < 0 || s.Epochs > mostEpochs:
		return cli.Usage("-epochs: want 1 to %d, got %d", mostEpochs, s.Epochs)
	case !(s.SaveMinutes >= 0 && s.SaveMinutes <= mostMinutes):
		return cli.Usage("-save-minutes: want a positive number, at most %g, got %g", mostMinutes, s.SaveMinutes)
	}
	return nil
}

// check rejects settings from which no run can be made, and fills in the defaults that depend on other settings.
func (s *settings) check() error {
	if err := s.checkLimits(); err != nil {
		return err
	}
	switch {
	case !(s.Validation >= 0 && s.Validation < 1):
		return cli.Usage("-validation: want a share from 0 to less than 1, got %g", s.Validation)
	case s.Patience < 0:
		return cli.Usage("-patience: want at least 1, got %d", s.Patience)
	case s.Keep < 0:
		return cli.Usage("-keep: want at least 1, got %d", s.Keep)
	case s.SaveSteps < 0:
		return cli.Usage("-save-steps: want at least 1, got %d", s.SaveSteps)
	case s.Batch < 1:
		return cli.Usage("-batch: want at least 1, got %d", s.Batch)
	case !slices.Contains([]string{"default", "none", "crop", "cropflip", "imagenet"}, s.Augment):
		return cli.Usage("-augment: want default, none, crop, cropflip or imagenet, got %q", s.Augment)
	case !(s.Test >= 0 && s.Test < 1):
		return cli.Usage("-test: want a share from 0 to less than 1, got %g", s.Test)
	case s.Size < 0:
		return cli.Usage("-size: want a positive number of pixels, got %d", s.Size)
	case !(s.Width >= 0) || math.IsInf(s.Width, 0):
		return cli.Usage("-width: want a positive number, got %g", s.Width)
	}
	if s.Epochs == 0 {
		s.Epochs = 30
		if s.Data == "" {
			s.Epochs = 8
		}
	}
	if s.LearnRate == 0 {
		s.LearnRate = s.defaultRate()
	}
	if _, err := s.net(); err != nil {
		return err
	}
	if err := s.setShortcut(&models.Options{}); err != nil {
		return err
	}
	_, err := s.solver(1)
	return err
}
