// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

//go:embed peer.py peer_torch.py peer_geoopt.py peer_orthogonium.py
var scripts embed.FS

// missing is the reason why a peer is not available.
type missing string

func (m missing) Error() string { return string(m) }

// peers are the Python processes, each started when it is first needed.
type peers struct {
	python  string // interpreter
	threads int
	clock   clock
	dir     string // where the scripts are
	running map[string]*peer
}

// get returns the peer of the script peer_NAME.py, or an error of type missing.
func (p *peers) get(ctx context.Context, name string) (*peer, error) {
	q, ok := p.running[name]
	if !ok {
		var err error
		if q, err = p.start(ctx, name); err != nil {
			return nil, err
		}
		if p.running == nil {
			p.running = map[string]*peer{}
		}
		p.running[name] = q
	}
	if q.missing != "" {
		return nil, q.missing
	}
	return q, nil
}

// start starts a process of the script peer_NAME.py. It is missing if the script says so.
func (p *peers) start(ctx context.Context, name string) (*peer, error) {
	if p.dir == "" {
		dir, err := os.MkdirTemp("", "benchmark-")
		if err != nil {
			return nil, err
		}
		p.dir = dir
		if err := os.CopyFS(dir, scripts); err != nil {
			return nil, err
		}
	}
	if _, err := exec.LookPath(p.python); err != nil {
		return &peer{name: name, missing: missing("no " + p.python)}, nil
	}
	q := &peer{name: name, ctx: ctx}
	q.cmd = exec.CommandContext(ctx, p.python, "-B", filepath.Join(p.dir, "peer_"+name+".py"), fmt.Sprint(p.threads), p.clock.peer)
	q.cmd.Stderr = &q.stderr
	q.cmd.WaitDelay = time.Second
	stdin, err := q.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := q.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := q.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	q.in, q.out = stdin, json.NewDecoder(stdout)
	var hello struct {
		Ready   string
		Missing missing
	}
	if err := q.read(&hello); err != nil {
		q.close()
		return nil, err
	}
	q.version, q.missing = hello.Ready, hello.Missing
	return q, nil
}

// versions lists the running peers, for the head of the table.
func (p *peers) versions() (all []string) {
	for _, name := range []string{"torch", "geoopt", "orthogonium"} {
		if q := p.running[name]; q != nil && q.version != "" {
			all = append(all, q.version)
		}
	}
	return all
}

// close ends the processes.
func (p *peers) close() {
	for _, q := range p.running {
		q.close()
	}
	if p.dir != "" {
		_ = os.RemoveAll(p.dir)
	}
}

// peer is a process that times its own steps: see peer.py.
type peer struct {
	name    string
	version string
	missing missing
	ctx     context.Context
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *json.Decoder
	stderr  bytes.Buffer
}

// ask sends a request and reads the answer to it.
func (p *peer) ask(do, name string, args map[string]any, answer any) error {
	request := map[string]any{"do": do, "name": name}
	maps.Copy(request, args)
	line, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return p.ended(err)
	}
	return p.read(answer)
}

func (p *peer) read(answer any) error {
	var raw json.RawMessage
	if err := p.out.Decode(&raw); err != nil {
		return p.ended(err)
	}
	var failed struct{ Error string }
	if err := json.Unmarshal(raw, &failed); err == nil && failed.Error != "" {
		return fmt.Errorf("%s: %s", p.name, failed.Error)
	}
	return json.Unmarshal(raw, answer)
}

// ended returns the error of a process that can no longer be read from or written to.
func (p *peer) ended(err error) error {
	if e := p.ctx.Err(); e != nil {
		return e
	}
	if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) {
		err = errors.New("the process ended")
	}
	_ = p.in.Close()
	_ = p.cmd.Wait() // stderr is whole after it
	return fmt.Errorf("%s: %w: %s", p.name, err, lastLine(p.stderr.String()))
}

func (p *peer) close() {
	if p.cmd != nil {
		_ = p.in.Close()
		_ = p.cmd.Wait()
	}
}

// remote is a contestant in a peer.
type remote struct {
	peer *peer
	name string
}

// contestant makes one of the given kind.
func (p *peer) contestant(name, kind string, args map[string]any) (contestant, error) {
	of := map[string]any{"kind": kind}
	maps.Copy(of, args)
	return remote{p, name}, p.ask("make", name, of, &struct{}{})
}

func (r remote) run(steps int) (float64, error) {
	var times struct{ MS []float64 }
	if err := r.peer.ask("run", r.name, map[string]any{"steps": steps}, &times); err != nil {
		return 0, err
	}
	if len(times.MS) != steps {
		return 0, fmt.Errorf("%s: want %d times, got %d", r.peer.name, steps, len(times.MS))
	}
	sum := 0.0
	for _, ms := range times.MS {
		sum += ms
	}
	return sum / float64(steps), nil
}

func (r remote) close() { _ = r.peer.ask("drop", r.name, nil, &struct{}{}) }
