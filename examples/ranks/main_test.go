// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/examples/internal/cli/clitest"
)

// recorded are those in the repository, from this folder.
const recorded = "../../docs/experiments/ranks-1.json,../../docs/experiments/ranks-2.json,../../docs/experiments/ranks-4.json"

// synthetic are transfers that take alpha + beta n, each off by a factor of about noise.
func synthetic(alpha, beta, noise float64, seed uint64) (all []transfer) {
	rng := rand.New(rand.NewPCG(seed, 1))
	for n := 64; n <= 1<<26; n *= 4 {
		all = append(all, transfer{Bytes: n, Seconds: (alpha + beta*float64(n)) * (1 + noise*rng.NormFloat64())})
	}
	return all
}

func TestMain(m *testing.M) { clitest.Main(m, main) }

func TestOutputLost(t *testing.T) { clitest.LosesOutput(t, "ranks", "-measured", recorded) }

// A fit finds alpha and beta to the error that it states.
func TestFitRecovers(t *testing.T) {
	const alpha, beta = 3e-6, 2e-10
	outside := 0
	for seed := range uint64(200) {
		l, err := fit(synthetic(alpha, beta, 0.03, seed))
		require.NoError(t, err)
		assert.True(t, l.straight)
		assert.Equal(t, [2]int{64, 1 << 26}, [2]int{l.from, l.to})
		assert.InEpsilon(t, alpha, l.alpha, 0.1)
		assert.InEpsilon(t, beta, l.beta, 0.1)
		assert.InDelta(t, 0.03, l.rms, 0.025)
		if math.Abs(l.alpha-alpha) > 2*l.alphaError || math.Abs(l.beta-beta) > 2*l.betaError {
			outside++
		}
	}
	assert.InDelta(t, 35, outside, 20, "of 200: two times 8 % by Student's t with 9 degrees of freedom")
}

// A fit says on which sizes it holds: here a cache ends.
func TestFitRange(t *testing.T) {
	all := synthetic(1e-6, 1e-10, 0, 1)
	for i := range all {
		if all[i].Bytes > 1<<22 {
			all[i].Seconds *= 3
		}
	}
	l, err := fit(all)
	require.NoError(t, err)
	assert.True(t, l.straight)
	assert.Equal(t, 1<<22, l.to)
	assert.InEpsilon(t, 1e-10, l.beta, 1e-6)

	for i := range all { // neighbours that no line joins
		all[i].Seconds *= []float64{1, 4}[i%2]
	}
	l, err = fit(all)
	require.NoError(t, err)
	assert.False(t, l.straight)
}

// What is no measurement is an error that says so.
func TestFitOfNonsense(t *testing.T) {
	good := func() []transfer { return synthetic(1e-6, 1e-10, 0, 1) }
	for name, c := range map[string]struct {
		points []transfer
		want   string
	}{
		"none":       {nil, "want 4 sizes or more"},
		"few":        {good()[:3], "got 3"},
		"falling":    {[]transfer{{Bytes: 1, Seconds: 8}, {Bytes: 2, Seconds: 4}, {Bytes: 3, Seconds: 2}, {Bytes: 4, Seconds: 1}}, "want times that grow"},
		"zero":       {append(good(), transfer{Bytes: 1 << 30}), "positive seconds"},
		"NaN":        {append(good(), transfer{Bytes: 1 << 30, Seconds: math.NaN()}), "positive seconds"},
		"infinite":   {append(good(), transfer{Bytes: 1 << 30, Seconds: math.Inf(1)}), "positive seconds"},
		"same sizes": {append(good(), transfer{Bytes: 64, Seconds: 1}), "different sizes"},
	} {
		_, err := fit(c.points)
		assert.ErrorContains(t, err, c.want, name)
	}
}

// Sums and gathers of the model give back the gamma that is in them.
func TestSeparate(t *testing.T) {
	w := network{alpha: 1e-6, beta: 1e-10, gamma: 7e-11}
	for _, p := range []int{2, 4, 64} {
		var sums, gathers []transfer
		for n := 64; n <= 1<<26; n *= 4 {
			sums = append(sums, transfer{Bytes: n, Seconds: w.allReduce(p, n)})
			gathers = append(gathers, transfer{Bytes: n, Seconds: w.gather(p, n)})
		}
		low, gamma, high, err := separate(p, sums, gathers)
		require.NoError(t, err)
		for _, g := range []float64{low, gamma, high}[1:] { // the shortest may be a doubling, which is less
			assert.InEpsilon(t, w.gamma, g, 1e-6, p)
		}
		assert.LessOrEqual(t, low, gamma*(1+1e-6))
		assert.InEpsilon(t, 1, growth(sums, sums), 1e-12)
	}
	_, _, _, err := separate(2, nil, nil)
	assert.ErrorContains(t, err, "sums and gathers")
}

// The limits of the model.
func TestAllReduce(t *testing.T) {
	w := network{alpha: 1e-6, beta: 1e-10, gamma: 3e-11}
	const n = 1 << 22
	assert.Zero(t, w.allReduce(1, n))
	assert.Zero(t, w.sum(1, n))
	assert.Zero(t, w.broadcast(1, n))
	assert.Zero(t, w.gather(1, n))
	assert.InEpsilon(t, w.alpha+64*(w.beta+w.gamma), w.allReduce(2, 64), 1e-12, "one exchange")
	assert.InEpsilon(t, 2*2*w.alpha+0.75*n*(2*w.beta+w.gamma), w.allReduce(4, n), 1e-12, "Thakur et al. for powers of two")

	far := network{beta: w.beta}
	assert.InEpsilon(t, 2*n*w.beta, far.allReduce(1<<20, n), 1e-5, "2 n beta on many ranks")
	assert.InEpsilon(t, 2*n*w.beta, far.allReduce(1<<20-1, n), 1e-5, "by the ring")
	assert.InEpsilon(t, 2*2*w.alpha+2./3*n*(2*w.beta+w.gamma), w.allReduce(3, n), 1e-12, "a ring of 3")
	assert.InEpsilon(t, 11*(w.alpha+8*(w.beta+w.gamma)), w.allReduce(1025, 8), 1e-12, "a word")

	for p := 2; p <= 300; p++ {
		for bytes := 1; bytes <= 1<<26; bytes *= 8 {
			lower := rounds(p)*w.alpha + 2*float64(p-1)/float64(p)*float64(bytes)*w.beta
			assert.GreaterOrEqual(t, w.allReduce(p, bytes)*(1+1e-12), max(rounds(p)*w.alpha, lower-rounds(p)*w.alpha), "no less than the bounds, at %d ranks", p)
		}
	}
	assert.InEpsilon(t, 3*w.allReduce(8, n)+w.allReduce(8, 100), w.sum(8, 3*n+100), 1e-12, "in parts")
	assert.InEpsilon(t, 3*w.allReduce(8, n), w.sum(8, 3*n), 1e-12)
}

// An exchange is a gather of like parts, and broadcasts of unlike ones.
func TestExchange(t *testing.T) {
	w := network{alpha: 1e-6, beta: 1e-10}
	assert.Zero(t, w.exchange([]int{5}))
	assert.InEpsilon(t, w.gather(4, 4e6), w.exchange([]int{1e6, 1e6, 1e6, 1e6}), 1e-12)
	assert.InEpsilon(t, w.broadcast(4, 1e6)+w.broadcast(4, 1e3), w.exchange([]int{1e6, 0, 1e3, 0}), 1e-12)
	assert.InEpsilon(t, 2*(w.alpha+100*w.beta), w.broadcast(4, 100), 1e-12, "a tree")
	assert.InEpsilon(t, (2+3)*w.alpha+1.5*1e6*w.beta, w.broadcast(4, 1e6), 1e-12, "a scatter and a gather")
}

// The nets have the published numbers of weights and multiplications, and the layers are dealt out as package solvers does it.
func TestNets(t *testing.T) {
	all := nets()
	assert.Equal(t, 269722, all[0].weights())
	assert.InEpsilon(t, 0.041e9, all[0].macs(), 0.02)
	assert.Equal(t, 11689512, all[1].weights())
	assert.InEpsilon(t, 1.81e9, all[1].macs(), 0.01)
	assert.InEpsilon(t, 1.0/448, all[0].seconds, 1e-12)

	for _, n := range all {
		busiest, bytes := n.deal(1)
		assert.Equal(t, 1.0, busiest)
		assert.Equal(t, 4*(n.weights()-n.rest)+13*8*len(n.layers), bytes[0])
		largest, total := int64(0), int64(0)
		for _, l := range n.layers {
			largest, total = max(largest, l.work()), total+l.work()
		}
		for p := 2; p <= 64; p *= 2 {
			busiest, bytes := n.deal(p)
			assert.Len(t, bytes, p)
			assert.GreaterOrEqual(t, busiest*(1+1e-12), max(1/float64(p), float64(largest)/float64(total)))
			assert.LessOrEqual(t, busiest, 1/float64(p)+float64(largest)/float64(total), "Graham 1969")
		}
		busiest, _ = n.deal(1000)
		assert.InEpsilon(t, float64(largest)/float64(total), busiest, 1e-12, "the largest layer")
	}
}

// A batch of the table has the share that the table says, and one image less has more.
func TestLeast(t *testing.T) {
	r, err := read(strings.Split(recorded, ","))
	require.NoError(t, err)
	for _, n := range nets() {
		j, err := jobOf(n, r, 20)
		require.NoError(t, err)
		for _, w := range nominal {
			for _, p := range []int{2, 100, 1024} {
				for _, by := range []way{sphere, whole, shared} {
					for _, share := range []float64{0.1, 0.5} {
						b := j.least(w, p, by, share)
						at := func(b int) float64 { s := j.predict(w, p, b, by); return s.communication() / s.step() }
						assert.LessOrEqual(t, at(b), share*(1+1e-9))
						if b > 1 {
							assert.Greater(t, at(b-1), share)
						}
					}
				}
			}
		}
		one := j.predict(nominal[0], 1, 32, shared)
		assert.Zero(t, one.communication()+one.around)
		assert.Equal(t, j.bank, one.solver)
		assert.InEpsilon(t, 32*n.seconds/20, one.compute, 1e-12)
	}
}

func TestRuns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	var first, second bytes.Buffer
	require.NoError(t, run([]string{"-measured", recorded, "-out", dir}, &first))
	picture, err := os.ReadFile(filepath.Join(dir, "ranks.png"))
	require.NoError(t, err)
	require.NoError(t, run([]string{"-measured", recorded, "-out", dir}, &second))
	again, err := os.ReadFile(filepath.Join(dir, "ranks.png"))
	require.NoError(t, err)
	assert.Equal(t, first.String(), second.String())
	assert.Equal(t, picture, again)

	var own bytes.Buffer
	require.NoError(t, run([]string{"-measured", recorded, "-latency", "2", "-bandwidth", "8", "-weights", "250000", "-compute", "0.1", "-ranks", "1, 2"}, &own))
	for line := range strings.Lines(first.String() + own.String()) {
		assert.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), 80, line)
	}
	lines := strings.Split(strings.TrimSpace(own.String()), "\n")
	require.Len(t, lines, 4)
	assert.Equal(t, []string{"yours", "1", "100", "0", "0", "100", "100", "%"}, strings.Fields(lines[2]))
	assert.Contains(t, lines[3], "99 %")

	var yours bytes.Buffer
	require.NoError(t, run([]string{"-measured", recorded, "-latency", "2", "-bandwidth", "8", "-batch", "8"}, &yours))
	assert.Contains(t, yours.String(), "8 images a rank")
	assert.NotContains(t, yours.String(), "InfiniBand")
}

var update = flag.Bool("update", false, "write the tables and the picture of the measurements in docs/experiments")

// What adding takes goes into the predictions if it can be told from sending, and not else.
func TestAdding(t *testing.T) {
	w := network{alpha: 1e-6, beta: 1e-10, gamma: 5e-9}
	predicted := func(noise float64) string {
		m := measured{Ranks: 2, Steps: []step{{Net: "none"}}}
		for n := 64; n <= 1<<26; n *= 4 {
			noise = -noise
			m.Transfers = append(m.Transfers, transfer{"sum", n, w.allReduce(2, n)}, transfer{"gather", n, w.gather(2, n) * (1 + noise)})
		}
		file := filepath.Join(t.TempDir(), "2.json")
		text, err := json.Marshal(m)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, text, 0o666))
		var out bytes.Buffer
		require.NoError(t, run([]string{"-measured", file, "-weights", "1000000", "-compute", "1", "-ranks", "1024", "-latency", "0", "-bandwidth", "1000000"}, &out))
		return strings.Fields(strings.Split(out.String(), "\n")[2])[3]
	}
	assert.Equal(t, "20", predicted(0), "ms: 4 MB at 5 ns")
	assert.NotEqual(t, "20", predicted(0.5), "noise")
}

// A step shared by many ranks has the part of the solver that the busiest rank has, and an exchange.
func TestShared(t *testing.T) {
	n := nets()[1]
	j := job{net: n, image: 1, bank: 8, sphere: 2, around: 0.5}
	w := network{alpha: 1e-6, beta: 1e-10}
	busiest, bytes := n.deal(4)
	one, all, own := j.predict(w, 4, 3, shared), j.predict(w, 4, 3, whole), j.predict(w, 4, 3, sphere)
	assert.InEpsilon(t, 8*busiest, one.solver, 1e-12)
	assert.Equal(t, 8.0, all.solver)
	assert.Equal(t, 2.0, own.solver)
	assert.InEpsilon(t, w.exchange(bytes), one.exchange-all.exchange, 1e-9)
	assert.InEpsilon(t, 3*w.gather(4, 32), all.exchange, 1e-9)
	assert.InEpsilon(t, 3+8+0.5+w.sum(4, 4*n.weights())+all.exchange, all.step(), 1e-12)
}

// The tables of the page, and the file beside the measurements, are what the program prints of them. A table of the page is known by
// its title.
func TestPage(t *testing.T) {
	const file, page, pictures = "../../docs/experiments/ranks.txt", "../../docs/scaling.md", "../../docs/img"
	var out bytes.Buffer
	args := []string{"-measured", recorded}
	if *update {
		args = append(args, "-out", pictures)
	}
	require.NoError(t, run(args, &out))
	before, err := os.ReadFile(page)
	require.NoError(t, err)
	tables := 0
	blocks := strings.Split(string(before), "```")
	for i, block := range blocks {
		title, _, _ := strings.Cut(strings.TrimPrefix(block, "text\n"), "\n")
		if _, rest, ok := strings.Cut(out.String(), title+"\n"); ok && i%2 == 1 && strings.HasPrefix(block, "text\n") {
			rows, _, _ := strings.Cut(rest, "\n\n")
			blocks[i] = "text\n" + title + "\n" + rows + "\n"
			tables++
		}
	}
	assert.Equal(t, 4, tables)
	after := strings.Join(blocks, "```")
	if *update {
		require.NoError(t, os.WriteFile(file, out.Bytes(), 0o666))
		require.NoError(t, os.WriteFile(page, []byte(after), 0o666))
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	const how = "go test ./examples/ranks -run Page -update"
	assert.Equal(t, out.String(), string(text), how)
	if !*update {
		assert.Equal(t, after, string(before), how)
	}
}

func TestWrongCommandLines(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken.json")
	require.NoError(t, os.WriteFile(broken, []byte(`{"ranks": 2}`), 0o666))
	one, _, _ := strings.Cut(recorded, ",")
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"-latency", "2"}, 2, "both of -latency and -bandwidth"},
		{[]string{"-compute", "2"}, 2, "both of -weights and -compute"},
		{[]string{"-latency", "-1", "-bandwidth", "1"}, 2, "got -1 and 1"},
		{[]string{"-latency", "1", "-bandwidth", "0"}, 2, "got 1 and 0"},
		{[]string{"-latency", "NaN", "-bandwidth", "1"}, 2, "got NaN"},
		{[]string{"-weights", "0", "-compute", "1"}, 2, "positive -weights"},
		{[]string{"-weights", "10", "-compute", "1", "-out", "x"}, 2, "no -out"},
		{[]string{"-ranks", "2,,4"}, 2, "whole numbers"},
		{[]string{"-ranks", "0"}, 2, "whole numbers"},
		{[]string{"-batch", "0"}, 2, "-batch of 1"},
		{[]string{"-batch", "100000000"}, 2, "-batch of 1"},
		{[]string{"-weights", "10", "-compute", "Inf"}, 2, "positive -weights"},
		{[]string{"-measured", ""}, 2, "-measured: want a value"},
		{[]string{"-out", ""}, 2, "-out: want a value"},
		{[]string{"-ranks", ""}, 2, "-ranks: want a value"},
		{[]string{"more"}, 2, "flags only"},
		{[]string{"-nonesuch"}, 2, "-h lists"},
		{[]string{"-measured", "nonesuch.json"}, 1, "nonesuch.json"},
		{[]string{"-measured", broken}, 1, "want ranks, transfers and steps"},
		{[]string{"-measured", one + "," + one}, 1, "second one of 1"},
		{[]string{"-help"}, 0, ""},
	} {
		var stderr, stdout bytes.Buffer
		assert.Equal(t, c.status, cli.Status("ranks", run(c.args, &stdout), &stderr), c.args)
		assert.Contains(t, stderr.String(), c.want)
		assert.LessOrEqual(t, strings.Count(stderr.String(), "\n"), 1)
	}
}

// Without -measured the files are those of the repository, in any folder.
func TestAnyFolder(t *testing.T) {
	var here, there bytes.Buffer
	require.NoError(t, run([]string{"-measured", recorded}, &there))
	t.Chdir(t.TempDir())
	require.NoError(t, run(nil, &here))
	assert.Equal(t, there.String(), here.String())
}
