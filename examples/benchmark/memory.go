// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

const peakSteps = 3 // the solver makes its state in the first

// untold is the reason for missing rows on memory if there is no /proc of Linux.
const untold = missing("the system does not tell the peak of memory")

// memoryNets are the nets whose peak memory is compared, by the names of the flag -peak-net.
func memoryNets() map[string]func(batch int) residual {
	nets := map[string]func(batch int) residual{"resnet20": resNet}
	for _, r := range imageNets() {
		nets[r.kind] = func(batch int) residual {
			r.batch = batch
			return r
		}
	}
	return nets
}

// memoryContest compares the peak memory of a process that trains a net with that of PyTorch. Each runs in
// its own process and counts the memory beyond what its runtime uses before the net is made.
func memoryContest(r residual) contest {
	return contest{
		name: "peak memory, " + r.name, counted: true,
		entrants: []entrant{peakOurs("ours", r), peakPeer("torch", r)},
		rows: []row{{
			what: fmt.Sprintf("peak memory, %s, %d images", r.name, r.batch), peer: "PyTorch", unit: "MB",
			ours: of("ours"), its: of("torch"), bar: bar{1, 0.7},
			as: func(ratio float64) string { return fmt.Sprintf("%.2f of its memory", ratio) },
		}},
	}
}

// usage is the memory of a process, in bytes: the current amount and the peak.
type usage struct{ Now, Peak float64 }

// memoryOf reads the usage from the text of /proc/PID/status.
func memoryOf(status string) (u usage, err error) {
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		into := map[string]*float64{"VmRSS": &u.Now, "VmHWM": &u.Peak}[name]
		if into == nil {
			continue
		}
		kB, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
		if err != nil {
			return u, fmt.Errorf("%s: %w", name, err)
		}
		*into = 1024 * kB
	}
	if u.Now == 0 || u.Peak == 0 {
		return u, untold
	}
	return u, nil
}

func ownMemory() (usage, error) {
	status, err := os.ReadFile("/proc/self/status")
	if errors.Is(err, os.ErrNotExist) {
		return usage{}, untold
	}
	if err != nil {
		return usage{}, err
	}
	return memoryOf(string(status))
}

// peak is the child's part of a row on memory: it trains the net and writes the largest growth of its memory, in megabytes.
func peak(ctx context.Context, r residual, stdout io.Writer) error {
	before, err := ownMemory()
	if err != nil {
		return err
	}
	c, err := r.training(wall, decaySGD()())
	if err != nil {
		return err
	}
	defer c.close()
	for range peakSteps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.(local).once(); err != nil { // without the garbage collection of run
			return err
		}
	}
	after, err := ownMemory()
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode((after.Peak - before.Now) / 1e6)
}

// peakOurs is the entrant of a child of this program.
func peakOurs(name string, r residual) entrant {
	return entrant{name, func(ctx context.Context, s *stage) (contestant, error) {
		if _, err := ownMemory(); err != nil {
			return nil, err
		}
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		return count(func() (megabytes float64, err error) {
			out, err := output(ctx, child(ctx, self, "-peak", fmt.Sprint(r.batch), "-peak-net", r.kind, "-threads", fmt.Sprint(s.threads)))
			if err != nil {
				return 0, err
			}
			return megabytes, json.Unmarshal(out, &megabytes)
		}), nil
	}}
}

// peakPeer is the entrant of a process of PyTorch that does the same.
func peakPeer(name string, r residual) entrant {
	return entrant{name, func(ctx context.Context, s *stage) (contestant, error) {
		if _, err := s.peers.get(ctx, "torch"); err != nil {
			return nil, err
		}
		return count(func() (float64, error) {
			p, err := s.peers.start(ctx, "torch")
			if err != nil {
				return 0, err
			}
			defer p.close()
			var before, after usage
			if err := p.ask("memory", name, nil, &before); err != nil {
				return 0, err
			}
			c, err := p.contestant(name, r.kind, r.request())
			if err != nil {
				return 0, err
			}
			for range peakSteps {
				if _, err := c.run(1); err != nil {
					return 0, err
				}
			}
			if err := p.ask("memory", name, nil, &after); err != nil {
				return 0, err
			}
			return (after.Peak - before.Now) / 1e6, nil
		}), nil
	}}
}
