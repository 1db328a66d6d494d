// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/kernelfold/kernelfold/internal/cpu"
)

// header prints what the numbers depend on.
func (s *settings) header(w io.Writer, peers []string) {
	var threads []string
	for _, n := range s.threads {
		threads = append(threads, fmt.Sprintf("%s (%s)", plural(n, "thread"), clockFor(n).name))
	}
	versions := append([]string{runtime.Version(), "gorgonia v0.9.18"}, peers...)
	fmt.Fprintf(w, "%s, up to %d rounds; %s/%s, %v; %s\n\n", strings.Join(threads, " and "), s.plan.rounds,
		runtime.GOOS, runtime.GOARCH, cpu.Use, strings.Join(versions, ", "))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// table prints the rows for a terminal of 100 columns: under the median of ours those of the peers and the ratios, with
// the quartiles in brackets, in milliseconds unless a unit is there. With bounds, a line ends with the bounds of the ratio.
// Rows that the program did not reach are counted at the end.
func table(w io.Writer, results []result, bounds bool) {
	var why missing
	reached := slices.DeleteFunc(slices.Clone(results), func(r result) bool {
		left := r.missing == interruption || r.missing == failedBefore
		if left {
			why = r.missing
		}
		return left
	})
	peer, its := 0, 0
	ours := map[string]string{}
	for _, r := range reached {
		peer = max(peer, len(r.peer))
		if r.missing == "" {
			its = max(its, len(r.itsTime.in(r.unit)))
			ours[r.what] = r.ourTime.in(cmp.Or(r.unit, "ms"))
		}
	}
	what := ""
	for _, r := range reached {
		if r.what != what {
			what = r.what
			fmt.Fprintf(w, "%s: %s\n", what, cmp.Or(ours[what], "not measured"))
		}
		if r.missing != "" {
			fmt.Fprintf(w, "    %-*s  not measured: %s\n", peer, r.peer, r.missing)
			continue
		}
		ratio := r.as(r.ratio())
		if bounds {
			must, aim := "-", "-"
			if r.must != 0 {
				must, aim = r.as(r.must), r.as(r.aim)
			}
			ratio = fmt.Sprintf("%-20s  %-20s  %-20s  %s", ratio, must, aim, r.verdict())
		}
		fmt.Fprintf(w, "    %-*s  %-*s  %s\n", peer, r.peer, its, r.itsTime.in(r.unit), ratio)
	}
	if left := len(results) - len(reached); left > 0 {
		fmt.Fprintf(w, "%s not measured: %s\n", plural(left, "row"), why)
	}
}

func (s spread) String() string {
	if s.low == s.high {
		return digits(s.median)
	}
	return fmt.Sprintf("%s (%s..%s)", digits(s.median), digits(s.low), digits(s.high))
}

// in is the spread in a unit, which is not said of milliseconds.
func (s spread) in(unit string) string { return strings.TrimSpace(s.String() + " " + unit) }

// digits formats a number with three digits.
func digits(x float64) string {
	if x == 0 {
		return "0"
	}
	places := 2 - int(math.Floor(math.Log10(math.Abs(x))))
	return fmt.Sprintf("%.*f", min(max(places, 0), 5), x)
}

// resultJSON is a row for other programs. A ratio, also that of a bound, is ours/its. A value that was not
// measured is null, and so are the milliseconds of a row in another unit.
type resultJSON struct {
	Name    string   `json:"name"`
	Threads int      `json:"threads"`
	OursMS  *float64 `json:"ours_ms"`
	Peer    string   `json:"peer"`
	PeerMS  *float64 `json:"peer_ms"`
	Ratio   *float64 `json:"ratio"`
	Must    float64  `json:"must"` // 0 where there is no bar
	Aim     float64  `json:"aim"`
	Met     *bool    `json:"met"`
	Unit    string   `json:"unit"`
	Ours    *float64 `json:"ours"`
	Its     *float64 `json:"its"`
}

func asJSON(results []result) []resultJSON {
	all := []resultJSON{}
	for _, r := range results {
		j := resultJSON{Name: r.name(), Threads: r.threads, Peer: r.peer, Must: r.must, Aim: r.aim, Unit: cmp.Or(r.unit, "ms")}
		if r.missing == "" {
			ratio := r.ratio()
			j.Ours, j.Its, j.Ratio = &r.ourTime.median, &r.itsTime.median, &ratio
			if r.unit == "" {
				j.OursMS, j.PeerMS = j.Ours, j.Its
			}
			if r.must != 0 {
				met := ratio <= r.must
				j.Met = &met
			}
		}
		all = append(all, j)
	}
	return all
}

// file is written under another name and renamed, so that it is either unchanged or complete. Without a name nothing is written.
type file struct {
	name string
	temp *os.File
}

func create(name string) (file, error) {
	if name == "" {
		return file{}, nil
	}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return file{}, fmt.Errorf("-json: want the name of a file, got the folder %s", name)
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

// close removes a file that was not completed.
func (f file) close() {
	if f.temp != nil {
		_ = f.temp.Close()
		_ = os.Remove(f.temp.Name())
	}
}
