// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"

	"github.com/kernelfold/kernelfold/internal/cpu"
)

// header says what the numbers depend on.
func header(w io.Writer, s *stage) {
	threads := "1 thread"
	if s.threads > 1 {
		threads = fmt.Sprintf("%d threads", s.threads)
	}
	versions := append([]string{runtime.Version(), "gorgonia v0.9.18"}, s.peers.versions()...)
	fmt.Fprintf(w, "%s, %s, up to %d rounds; %s/%s, %v; %s\n\n", threads, s.clock.name, s.rounds,
		runtime.GOOS, runtime.GOARCH, cpu.Use, strings.Join(versions, ", "))
}

// table prints the rows for a terminal: milliseconds are medians, with the
// quartiles beside them.
func table(w io.Writer, results []result) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer t.Flush()
	fmt.Fprintln(t, "what\tours, ms\tpeer\tits, ms\tours is\tmust\taim\tbar")
	what := ""
	for _, r := range results {
		name := r.what
		if name == what {
			name = "" // as above
		}
		what = r.what
		ours, its, ratio, must, aim := "-", "-", "-", "-", "-"
		if r.missing == "" {
			ours, its, ratio = r.ourTime.String(), r.itsTime.String(), r.as(r.ratio())
		}
		if r.must != 0 {
			must, aim = r.as(r.must), r.as(r.aim)
		}
		fmt.Fprintln(t, strings.Join([]string{name, ours, r.peer, its, ratio, must, aim, r.verdict()}, "\t"))
	}
}

func (s spread) String() string {
	return fmt.Sprintf("%s (%s..%s)", digits(s.median), digits(s.low), digits(s.high))
}

// digits prints three of them.
func digits(x float64) string {
	if x == 0 {
		return "0"
	}
	places := 2 - int(math.Floor(math.Log10(math.Abs(x))))
	return fmt.Sprintf("%.*f", min(max(places, 0), 5), x)
}

// resultJSON is a row for other programs. A ratio, also that of a bar, is ours/peer.
type resultJSON struct {
	Name   string   `json:"name"`
	Ours   *float64 `json:"ours_ms"`
	Peer   string   `json:"peer"`
	PeerMS *float64 `json:"peer_ms"`
	Ratio  *float64 `json:"ratio"`
	Must   *float64 `json:"must"`
	Aim    *float64 `json:"aim"`
	Met    *bool    `json:"met"`
}

func asJSON(results []result) []resultJSON {
	all := []resultJSON{}
	for _, r := range results {
		j := resultJSON{Name: r.name(), Peer: r.peer}
		if r.must != 0 {
			j.Must, j.Aim = &r.must, &r.aim
		}
		if r.missing == "" {
			ratio := r.ratio()
			j.Ours, j.PeerMS, j.Ratio = &r.ourTime.median, &r.itsTime.median, &ratio
			if r.must != 0 {
				met := ratio <= r.must
				j.Met = &met
			}
		}
		all = append(all, j)
	}
	return all
}

// file is written under another name and renamed, so that it is either as
// before or whole. Without a name nothing is written.
type file struct {
	name string
	temp *os.File
}

func create(name string) (file, error) {
	if name == "" {
		return file{}, nil
	}
	temp, err := os.CreateTemp(filepath.Dir(name), ".benchmark-*")
	return file{name, temp}, err
}

// write writes v as JSON, or as it is if it is bytes.
func (f file) write(v any) error {
	if f.temp == nil {
		return nil
	}
	b, ok := v.([]byte)
	if !ok {
		var err error
		if b, err = json.MarshalIndent(v, "", "  "); err != nil {
			return err
		}
		b = append(b, '\n')
	}
	if _, err := f.temp.Write(b); err != nil {
		return err
	}
	if err := f.temp.Chmod(0o644); err != nil {
		return err
	}
	if err := f.temp.Close(); err != nil {
		return err
	}
	return os.Rename(f.temp.Name(), f.name)
}

// close takes away what was not written.
func (f file) close() {
	if f.temp != nil {
		_ = f.temp.Close()
		_ = os.Remove(f.temp.Name())
	}
}
