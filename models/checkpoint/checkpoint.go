// SPDX-License-Identifier: Apache-2.0

// Package checkpoint keeps nets and training runs on disk, in safetensors files.
//
// A checkpoint holds all that a run needs to continue exactly: weights, the statistics of
// batch normalisations, noise, the state of the solver on its manifolds, and whatever
// the training loop keeps, as JSON:
//
//	err := checkpoint.Save("run.safetensors", model, solver, loop)
//	...
//	err := checkpoint.Load("run.safetensors", model, solver, &loop)
//
// A save replaces the file as a whole or not at all, whenever the program or the machine
// stops. A load changes memory as a whole or not at all: a file that is damaged, foreign or does not match is
// an error. A Series keeps the last few checkpoints of a folder and finds the newest whole one.
//
// Export and Import exchange weights with PyTorch. Checkpoints use PyTorch's names and shapes too.
package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/kernelfold/kernelfold/internal/disk"
	"github.com/kernelfold/kernelfold/internal/files"
	"github.com/kernelfold/kernelfold/internal/isnil"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/safetensors"
)

// The kinds of failure of a load, for errors.Is. After each of them memory is as before.
var (
	// ErrDamaged: the file is truncated, or bits of it have changed, or it is not a safetensors file.
	ErrDamaged = errors.New("damaged")
	// ErrForeign: the file is a safetensors file, but not a checkpoint.
	ErrForeign = errors.New("not a checkpoint")
	// ErrVersion: the checkpoint is of a version that this package does not know.
	ErrVersion = errors.New("unknown version")
	// ErrMismatch: the file does not match the model, the solver or the loop.
	ErrMismatch = errors.New("does not match")
)

// Stateful is implemented by values with weights and buffers to save: *models.Net, *models.Model and models.State.
type Stateful interface{ State() models.State }

// stateOf returns the state, after checking its names.
func stateOf(m Stateful) (models.State, error) {
	if isnil.Of(m) {
		return models.State{}, errors.New("want a model, got nil")
	}
	if t, ok := m.(models.Trainable); ok && t.Base() == nil {
		return models.State{}, fmt.Errorf("want a model with a net, got the zero %T", m)
	}
	s := m.State()
	return s, s.Check()
}

// present returns an error for a nil pointer in place of a solver; no solver at all is nil.
func present(s Solver) error {
	if s != nil && isnil.Of(s) {
		return fmt.Errorf("want a solver, or nil without a type for none, got a nil %T", s)
	}
	return nil
}

// Save writes a checkpoint of a model, of the solver that trains it, which may be nil, and of the state of
// the loop, which is any value that encoding/json can encode, or nil.
//
// The file at path is replaced atomically once the checkpoint is on disk: whenever a save stops or fails,
// path holds the previous checkpoint or this one. A link at path is followed, a file that is replaced must be
// regular, and its permissions stay. Temporary files of a save that was killed are removed by the next save.
// Of two simultaneous saves to one path at most one fails, and path holds one of the two.
func Save(path string, m Stateful, s Solver, loop any) error {
	return save(disk.OS{}, path, m, s, loop)
}

func save(d disk.Disk, path string, m Stateful, s Solver, loop any) error {
	staged, err := stage(d, path, m, s, loop)
	if err != nil {
		return err
	}
	if err := staged.Commit(); err != nil {
		return fmt.Errorf("checkpoint: save %s: %w", path, err)
	}
	return nil
}

// stage writes a checkpoint that is to be put at path.
func stage(d disk.Disk, path string, m Stateful, s Solver, loop any) (*disk.Staged, error) {
	c, err := contentOf(m, s, loop)
	var staged *disk.Staged
	if err == nil {
		staged, err = disk.Stage(d, path, c.write)
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint: save %s: %w", path, err)
	}
	return staged, nil
}

// Load reads a checkpoint into a model and, unless they are nil, a solver that has made no
// step and the loop, a pointer to the type that was saved. The model must have the learnables
// and buffers, and the solver the options, that they were saved with: Load checks names,
// shapes, precisions, manifolds and groupings.
//
// The weights are written to the memory that they lie in, so that predictors see them.
//
// Load is atomic. If loop is an Accepter, its Accept is called before anything changes.
func Load(path string, m Stateful, s Solver, loop any) error {
	if err := load(path, m, s, loop); err != nil {
		return fmt.Errorf("checkpoint: load %s: %w", path, err)
	}
	return nil
}

func load(path string, m Stateful, s Solver, loop any) error {
	f, err := open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.verify(); err != nil {
		return err
	}
	return f.restore(m, s, loop)
}

// restore checks everything, then changes memory.
func (f *reading) restore(of Stateful, s Solver, loop any) error {
	m, err := stateOf(of)
	if err != nil {
		return fmt.Errorf("%w (%w)", err, ErrMismatch)
	}
	known := map[string]bool{}
	all, err := f.model(m, known)
	if err != nil {
		return err
	}
	if err := f.sameZeros(m, unsaidZeros); err != nil {
		return err
	}
	if err := present(s); err != nil {
		return fmt.Errorf("%w (%w)", err, ErrMismatch)
	}
	snapshot, err := f.solver(s != nil, known)
	if err != nil {
		return err
	}
	for _, i := range f.Tensors() {
		if !known[i.Name] {
			return fmt.Errorf("want no tensor %q, got one of shape %v (%w)", i.Name, i.Shape, ErrMismatch)
		}
	}
	setLoop, err := f.loop(loop)
	if err != nil {
		return err
	}
	all.exchange()
	if s != nil {
		if err := resume(s, m, snapshot); err != nil {
			all.exchange()
			return err
		}
	}
	setLoop()
	return nil
}

// loop reads the state of the loop into a new value, and returns a function that copies it to that of the caller.
func (f *reading) loop(loop any) (set func(), err error) {
	if loop == nil {
		return func() {}, nil
	}
	to := reflect.ValueOf(loop)
	if to.Kind() != reflect.Pointer || to.IsNil() {
		return nil, fmt.Errorf("want a pointer to the state of the loop, got %T (%w)", loop, ErrMismatch)
	}
	text, ok := f.MetadataValue(loopKey)
	if !ok {
		return nil, fmt.Errorf("want the state of a loop, got none (%w)", ErrMismatch)
	}
	from := reflect.New(to.Type().Elem())
	if err := files.JSON([]byte(text), from.Interface()); err != nil {
		return nil, fmt.Errorf("state of the loop: %w (%w)", err, ErrMismatch)
	}
	if p, ok := loop.(Accepter); ok {
		if err := p.Accept(from.Interface()); err != nil {
			return nil, fmt.Errorf("state of the loop: %w (%w)", err, ErrMismatch)
		}
	}
	return func() { to.Elem().Set(from.Elem()) }, nil
}

// Accepter is implemented by the state of a loop that checks a saved state before it continues from it.
type Accepter interface {
	// Accept returns an error if saved, of the same type, is not a state from which to continue.
	Accept(saved any) error
}

// content is the content of a checkpoint.
type content struct {
	tensors  []safetensors.Tensor
	metadata map[string]string
}

func contentOf(of Stateful, s Solver, loop any) (*content, error) {
	m, err := stateOf(of)
	if err != nil {
		return nil, err
	}
	tensors, err := tensorsOf(m, modelPrefix)
	if err != nil {
		return nil, err
	}
	c := &content{tensors: tensors, metadata: map[string]string{formatKey: "pt", versionKey: versionOf(m)}}
	c.addZeros(m)
	if err := c.add(noiseKey, noiseOf(m)); err != nil {
		return nil, err
	}
	if list := iterationsOf(m); len(list) > 0 {
		if err := c.add(iterationsKey, list); err != nil {
			return nil, err
		}
	}
	if err := present(s); err != nil {
		return nil, err
	}
	if s != nil {
		if err := c.addSolver(m, s); err != nil {
			return nil, err
		}
	}
	if loop != nil {
		if err := c.add(loopKey, loop); err != nil {
			return nil, fmt.Errorf("state of the loop: %w", err)
		}
	}
	return c, nil
}

// add puts a value into the metadata.
func (c *content) add(key string, value any) error {
	text, err := json.Marshal(value)
	c.metadata[key] = string(text)
	return err
}

// Check reads the whole checkpoint at path and returns an error if it has changed since it was written.
func Check(path string) error {
	f, err := open(path)
	if err == nil {
		defer f.Close()
		err = f.verify()
	}
	if err != nil {
		return fmt.Errorf("checkpoint: %s: %w", path, err)
	}
	return nil
}

// open reads the header of a file.
func open(path string) (*reading, error) {
	f, size, err := files.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := safetensors.NewReader(f, size)
	if err != nil {
		f.Close()
		return nil, damaged(err)
	}
	return &reading{Reader: r, file: f, size: size}, nil
}

// damaged marks the errors of a file that is not of the format.
func damaged(err error) error {
	if errors.Is(err, safetensors.ErrFormat) {
		return fmt.Errorf("%w (%w)", err, ErrDamaged)
	}
	return err
}
