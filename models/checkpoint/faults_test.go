// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/disk"
	"github.com/kernelfold/kernelfold/solvers"
)

var (
	errFault  = errors.New("fault")
	errKilled = errors.New("killed")
)

// faultyDisk is the disk with a fault at its nth operation, from 1. It knows what the
// machine would forget without power: bytes that were not synced, and names in a folder that was
// not synced.
type faultyDisk struct {
	nth    int
	kill   bool // everything ends there, in the middle of a write
	count  int
	killed bool

	dirty map[string]bool // files with bytes that were not synced
	undo  []func()        // of the changes of names since the last sync of the folder
}

// fault counts an operation and returns the error that it ends with.
func (d *faultyDisk) fault() error {
	if d.killed {
		return errKilled
	}
	if d.count++; d.count != d.nth {
		return nil
	}
	if d.killed = d.kill; d.kill {
		return errKilled
	}
	return errFault
}

func (d *faultyDisk) Create(path string) (disk.File, error) {
	if err := d.fault(); err != nil {
		return nil, err
	}
	f, err := disk.OS{}.Create(path)
	if err == nil {
		d.undo = append(d.undo, func() { os.Remove(path) })
		f = &faultyFile{f, d, path}
	}
	return f, err
}

func (d *faultyDisk) Rename(from, to string) error {
	if err := d.fault(); err != nil {
		return err
	}
	before, missing := os.ReadFile(to)
	if err := os.Rename(from, to); err != nil {
		return err
	}
	if d.dirty[from] {
		d.dirty[to] = true
		delete(d.dirty, from)
	}
	d.undo = append(d.undo, func() {
		os.Rename(to, from)
		if missing == nil {
			os.WriteFile(to, before, 0o666)
		}
	})
	return nil
}

func (d *faultyDisk) Remove(path string) error {
	if err := d.fault(); err != nil {
		return err
	}
	before, _ := os.ReadFile(path)
	d.undo = append(d.undo, func() { os.WriteFile(path, before, 0o666) })
	return os.Remove(path)
}

func (d *faultyDisk) List(folder string) ([]string, error) {
	if err := d.fault(); err != nil {
		return nil, err
	}
	return disk.OS{}.List(folder)
}

func (d *faultyDisk) SyncFolder(folder string) error {
	if err := d.fault(); err != nil {
		return err
	}
	d.undo = nil
	return disk.OS{}.SyncFolder(folder)
}

type faultyFile struct {
	disk.File
	on   *faultyDisk
	path string
}

func (f *faultyFile) Write(b []byte) (int, error) {
	if err := f.on.fault(); err != nil {
		n := 0
		if !f.on.killed || f.on.count == f.on.nth { // torn
			n, _ = f.File.Write(b[:len(b)/2])
		}
		f.on.soil(f.path)
		return n, err
	}
	f.on.soil(f.path)
	return f.File.Write(b)
}

func (f *faultyFile) Sync() error {
	if err := f.on.fault(); err != nil {
		return err
	}
	delete(f.on.dirty, f.path)
	return f.File.Sync()
}

func (f *faultyFile) Close() error {
	err := f.on.fault()
	return errors.Join(f.File.Close(), err)
}

func (d *faultyDisk) soil(path string) {
	if d.dirty == nil {
		d.dirty = map[string]bool{}
	}
	d.dirty[path] = true
}

// outages are what may be left of the operations before a fault.
var outages = []struct {
	name  string
	kill  bool
	after func(d *faultyDisk)
}{
	{"the operation fails", false, func(*faultyDisk) {}},
	{"the program is killed", true, func(*faultyDisk) {}},
	{"the power fails, names are kept", true, (*faultyDisk).loseBytes},
	{"the power fails, names are lost", true, func(d *faultyDisk) {
		d.loseBytes()
		for _, u := range slices.Backward(d.undo) {
			u()
		}
	}},
}

// loseBytes cuts the files that were not synced.
func (d *faultyDisk) loseBytes() {
	for path := range d.dirty {
		if info, err := os.Stat(path); err == nil {
			os.Truncate(path, info.Size()/3)
		}
	}
}

// everyFault calls f with a disk for each operation that saving makes, and each outage.
func everyFault(t *testing.T, save func(t *testing.T, d disk.Disk) error, check func(t *testing.T, saved error)) {
	for _, o := range outages {
		t.Run(o.name, func(t *testing.T) {
			faults := 0
			for nth := 1; ; nth++ {
				d := &faultyDisk{nth: nth, kill: o.kill}
				err := save(t, d)
				o.after(d)
				check(t, err)
				if t.Failed() {
					t.Fatalf("at operation %d", nth)
				}
				if d.count < nth { // it was over before
					require.NoError(t, err)
					break
				}
				faults++
			}
			assert.Greater(t, faults, 8)
		})
	}
}

// two are the state that is on disk and the next.
func two(t *testing.T) (a, b *run, inA, inB memory) {
	a, b = fresh(t), fresh(t)
	a.steps(t, 1)
	b.steps(t, 2) // which ends elsewhere
	return a, b, a.memory(t), b.memory(t)
}

// Wherever a save to one path ends, the file is whole: that before, or, if the save went
// well, this one.
func TestSaveIsAtomic(t *testing.T) {
	a, b, inA, inB := two(t)
	var path string
	everyFault(t, func(t *testing.T, d disk.Disk) error {
		path = filepath.Join(t.TempDir(), "run.safetensors")
		a.save(t, path)
		return save(d, path, b.model, b.solver, b.loop)
	}, func(t *testing.T, saved error) {
		got := fresh(t)
		require.NoError(t, got.load(path))
		is := got.memory(t)
		if saved == nil || !assert.ObjectsAreEqual(inA, is) {
			require.Equal(t, inB, is)
		}
		// The next save works, and cleans up.
		b.save(t, path)
		names, err := disk.OS{}.List(filepath.Dir(path))
		require.NoError(t, err)
		require.Equal(t, []string{"run.safetensors"}, names)
	})
}

// Wherever the save of a series ends, the newest whole checkpoint is that before or this
// one, and no file of the series is damaged.
func TestSeriesIsAtomic(t *testing.T) {
	for _, last := range []string{"", "last.safetensors"} {
		t.Run(last, func(t *testing.T) { seriesIsAtomic(t, last) })
	}
}

func seriesIsAtomic(t *testing.T, last string) {
	a, b, inA, inB := two(t)
	var s Series
	everyFault(t, func(t *testing.T, d disk.Disk) error {
		s = Series{Dir: t.TempDir(), Last: last}
		for range 3 {
			_, err := s.Save(a.model, a.solver, a.loop)
			require.NoError(t, err)
		}
		_, err := s.save(d, b.model, b.solver, b.loop)
		return err
	}, func(t *testing.T, saved error) {
		got := fresh(t)
		_, damaged, err := s.Load(got.model, got.solver, &got.loop)
		require.NoError(t, err)
		require.Empty(t, damaged)
		is := got.memory(t)
		if saved == nil || !assert.ObjectsAreEqual(inA, is) {
			require.Equal(t, inB, is)
		}
		path, err := s.Save(b.model, b.solver, b.loop)
		require.NoError(t, err)
		names, err := disk.OS{}.List(s.Dir)
		require.NoError(t, err)
		require.LessOrEqual(t, len(names), 3, "a removal that failed may have left one")
		require.Contains(t, names, filepath.Base(path))
		for _, n := range names {
			require.NoError(t, Check(filepath.Join(s.Dir, n)))
		}
	})
}

// A save that cannot begin leaves nothing.
func TestSaveRefuses(t *testing.T) {
	dir := t.TempDir()
	r := runOf(t, precisions[0], 1, adam())
	path := filepath.Join(dir, "run.safetensors")
	other := runOf(t, precisions[0], 1, solvers.NewSGD())
	other.model = modelOf(t, spec(precisions[0], 1), linear)
	other.steps(t, 1)
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"no model":           {Save(path, nil, nil, nil), "want a model, got nil"},
		"loop":               {Save(path, r.model, nil, func() {}), "unsupported type"},
		"solver of another":  {Save(path, r.model, other.solver, nil), `"fc.weight"`},
		"no folder":          {Save(filepath.Join(dir, "none", "run"), r.model, nil, nil), "no such file"},
		"a folder":           {Save(dir, r.model, nil, nil), dir},
		"impossible options": {Save(path, r.model, solvers.NewSGD(solvers.LearnRate(-1)), nil), "LearnRate"},
		"export of nothing":  {Export(path, nil), "want a model, got nil"},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, c.err, c.want)
			assert.ErrorContains(t, c.err, "checkpoint: ")
		})
	}
	_, err := Series{Dir: filepath.Join(dir, "none")}.Save(r.model, nil, nil)
	assert.ErrorIs(t, err, os.ErrNotExist)
	_, err = Series{Dir: dir, Keep: -1}.Save(r.model, nil, nil)
	assert.ErrorContains(t, err, "got -1")
	names, err := disk.OS{}.List(dir)
	require.NoError(t, err)
	assert.Empty(t, names)
}
