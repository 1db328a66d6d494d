// SPDX-License-Identifier: Apache-2.0

package doctest

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// What makes sure that a command of a page works.
const (
	here     = "TestCommandsRun runs it"
	start    = "TestStart or TestInstall runs it"
	gate     = ".ci/run runs it, or the Makefile, in this form or with other flags"
	hours    = "needs CIFAR-10 or Fashion-MNIST and hours; tests and .ci/run run the program on less"
	minutes  = "measures for minutes; .ci/run runs the program on less"
	cluster  = "needs several machines or many cores; make mpi runs the program on 2 and 4 processes"
	terminal = "needs a terminal or a browser; .ci/run executes the notebooks"
)

// commands are those of all pages, without comments.
var commands = map[string]string{
	"go run ./examples/compare":   gate,
	"go run ./examples/benchmark": minutes,
	"go test ./...":               gate,
	"make check":                  gate,

	"git clone <this repository> kernelfold":    start,
	"git clone <this repository> ../kernelfold": start,
	"mkdir digits && cd digits":                 start,
	"go mod init digits":                        start,
	"go mod edit -require=github.com/kernelfold/kernelfold@v0.0.0 -replace=github.com/kernelfold/kernelfold=../kernelfold": start,
	"go mod tidy": start,
	"go run .":    start,

	"go test -v -run Symmetric ./examples/own": here,
	"go test -v -run Adagrad ./examples/own":   here,

	"go run ./examples/benchmark -quick":                                                                              minutes,
	"go run ./examples/benchmark -rows 'training step'":                                                               minutes,
	"go run ./examples/benchmark -json results.json":                                                                  minutes,
	"go run ./examples/benchmark -threads 1":                                                                          minutes,
	"go run ./examples/benchmark -avx2":                                                                               minutes,
	"go run ./examples/benchmark -before /tmp/older":                                                                  minutes,
	"go run ./examples/benchmark -scaling -out results":                                                               minutes,
	"go run ./examples/benchmark -quick -before /tmp/older":                                                           minutes,
	"go run ./examples/benchmark -rows 'stock Gorgonia|training step|3x3'":                                            minutes,
	"go run ./examples/benchmark -threads 1 -rows 'ResNet-20, (un|Stiefel).*PyTorch'":                                 minutes,
	"git worktree add /tmp/older-tree HEAD~1":                                                                         minutes,
	"(cd /tmp/older-tree && go build -o /tmp/older ./examples/benchmark)":                                             minutes,
	"go test -run '^$' -bench . ./internal/vec ./internal/gemm ./internal/fused ./internal/winograd":                  minutes,
	"go test -run '^$' -bench . -tags noasm ./internal/vec ./internal/gemm ./internal/fused ./internal/winograd":      minutes,
	"KERNELFOLD_LONG=1 go test -run Extremes -timeout 0 ./internal/extremes -extremes.parts 1 -extremes.out table.md": hours,

	"go run ./examples/cifar -out run":                                                                gate,
	"go run ./examples/cifar -out run -resume":                                                        gate,
	"go run ./examples/cifar -out run -predict cat.jpg":                                               hours,
	"go run ./examples/cifar -data DIR -out run -epochs 60":                                           hours,
	"go run ./examples/cifar -data DIR -out run -import FILE -shortcut projection":                    hours,
	"go run ./examples/cifar -data DIR -evaluate -import resnet20.safetensors -shortcut zeros-around": hours,

	"go run ./examples/experiments -data DIR -out FILE.json EXPERIMENT":                                             hours,
	"go run ./examples/experiments -data DIR scale":                                                                 hours,
	"go run ./examples/experiments -cores 1 -seeds 3 -data DIR -out docs/experiments/scale.json scale":              hours,
	"go run ./examples/experiments -cores 1 -seeds 3 -again 0 -data DIR -out docs/experiments/fashion.json fashion": hours,
	"go run ./examples/experiments -cores 1 -data DIR -out docs/experiments/robust.json robust":                     hours,
	"go run ./examples/experiments -cores 2 -seeds 3 -data DIR -out docs/experiments/cifar.json cifar":              hours,

	"go build -tags mpi -o train ./examples/cifar":                                         gate,
	"mpirun -np 4 --map-by slot:PE=8 ./train":                                              cluster,
	"mpirun -np 16 --hostfile hosts --map-by ppr:1:node:PE=32 ./train":                     cluster,
	"mpirun -np 4 ./train -data DIR -batch 128 -sync-batch-norm -out run":                  cluster,
	"mpirun -np 2 ./train -out run -resume":                                                cluster,
	"go test -tags mpi -c -o measure.test ./solvers/distributed":                           gate,
	"mpirun -np 2 --map-by slot:PE=1 ./measure.test -test.run TestMeasure -measure 2.json": cluster,
	"go run ./examples/ranks -measured 1.json,2.json,4.json":                               cluster,
	"go run ./examples/ranks -latency 5 -bandwidth 50":                                     here,
	"go run ./examples/ranks -weights 25000000 -compute 0.2 -ranks 8,64,512":               here,

	"apt-get install jupyter-notebook":    gate,
	"examples/notebooks/install.sh":       gate,
	"jupyter notebook examples/notebooks": terminal,
	"make execute":                        terminal,
}

// Every command of every page is known to work, or it is known what it needs.
func TestCommandsRun(t *testing.T) {
	verb := regexp.MustCompile(`^(\(?cd |go |git |make |mkdir |mpirun |jupyter |apt-get |examples/|[A-Z_]+=\S+ go )`)
	found := map[string]bool{}
	for _, page := range pages(t) {
		for _, p := range parts(read(t, page)) {
			if p.fence != "" || !verb.MatchString(p.text) {
				continue
			}
			for line := range strings.Lines(p.text) {
				command := strings.TrimSpace(comment.ReplaceAllString(line, ""))
				found[command] = true
				assert.Contains(t, commands, command, "%s: want the command in the table of this test", relative(page))
			}
		}
	}
	for command, proof := range commands {
		assert.True(t, found[command], "no page has the command %q any more", command)
		if proof != here || testing.Short() {
			continue
		}
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir = filepath.FromSlash(root)
		out, err := cmd.CombinedOutput()
		assert.NoError(t, err, "%s\n%s", command, out)
	}
}
