package extremes

import "testing"
import "math/rand/v2"
import "fmt"
import "sort"
import "time"
import "os"

func TestProbe(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	n := 0
	type ex struct{ n int; c string; f string }
	seen := map[string]*ex{}
	start := time.Now()
	worst := map[string]float64{}
	mem := map[string]float64{}
	errs := map[string]int{}
	steps := 0
	if os.Getenv("C") != "" {
		c, err := ParseCase(os.Getenv("C"))
		if err != nil { t.Fatal(err) }
		v := judge(c, c.build())
		fmt.Println(v.Failures, v.Errors, v.Weights, v.Member, v.Kappa)
		return
	}
	for n < 8000 && time.Since(start) < 60*time.Second {
		c, ok := at(rng.IntN(gridSize()))
		if !ok { continue }
		n++
		v := judge(c, c.build())
		steps += v.Steps
		for _, e := range v.Errors { errs[e]++ }
		key := manifoldKinds[c.manifold].name + " " + precisions[c.precision].name
		if len(v.Failures) == 0 {
			worst[key] = max(worst[key], v.Weights)
			mem[key] = max(mem[key], v.Member)
		}
		for _, f := range v.Failures {
			k := string(f.Fault) + " | " + manifoldKinds[c.manifold].name + " | "+precisions[c.precision].name
			if seen[k] == nil { seen[k] = &ex{0, c.String(), f.String()} }
			seen[k].n++
		}
	}
	fmt.Println(n, steps, time.Since(start), gridSize())
	var ks []string
	for k := range seen { ks = append(ks, k) }
	sort.Strings(ks)
	for _, k := range ks { fmt.Println(seen[k].n, k, "\n    ", seen[k].c, "\n    ", seen[k].f) }
	for k, w := range worst { fmt.Printf("%-40s %8.3g %8.3g\n", k, w, mem[k]) }
	fmt.Println(errs)
}
