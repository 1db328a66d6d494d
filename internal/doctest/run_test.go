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
	followed = "TestPictures runs it"
	gate     = ".ci/run runs it, or the Makefile, in this form or with other flags"
	hours    = "needs CIFAR-10 or Fashion-MNIST and hours; tests and .ci/run run the program on less"
	minutes  = "measures for minutes; .ci/run runs the program on less"
	less     = "a minute; the test of the program runs it on less"
	cluster  = "needs several machines or many cores; make mpi runs the program on 2 and 4 processes"
	terminal = "needs a terminal or a browser; .ci/run executes the notebooks"
	modules  = "needs a module of npm; tests read what it checks back"
)

// commands are those of all pages, without comments. Three dots at the end stand for other flags.
var commands = map[string]string{
	"go run ./examples/compare": gate,
	"go test ./...":             gate,
	"make check":                gate,

	"git clone <this repository> ...": start,
	"mkdir digits && cd digits":       start,
	"go mod init digits":              start,
	"go mod edit -require=github.com/kernelfold/kernelfold@v0.0.0 -replace=github.com/kernelfold/kernelfold=../kernelfold": start,
	"go mod tidy": start,
	"go run .":    start,

	"go test -v -run Symmetric ./examples/own":                               here,
	"go test -v -run Adagrad ./examples/own":                                 here,
	"go run ./examples/ranks -latency 5 -bandwidth 50":                       here,
	"go run ./examples/ranks -weights 25000000 -compute 0.2 -ranks 8,64,512": here,
	"go run ./examples/ranks -measured ...":                                  cluster,

	"go run ./examples/benchmark ...":                                     minutes,
	"go test -run '^$' -bench . ...":                                      minutes,
	"git worktree add /tmp/older-tree HEAD~1":                             minutes,
	"(cd /tmp/older-tree && go build -o /tmp/older ./examples/benchmark)": minutes,

	"KERNELFOLD_LONG=1 go test -run Extremes ...":   hours,
	"go run ./examples/experiments ...":             hours,
	"go run ./examples/classify -out run":           gate,
	"go run ./examples/classify -out run -evaluate": gate,
	"go run ./examples/classify -out run -resume":   gate,
	"go run ./examples/classify ...":                hours,

	"go run ./examples/certified -out results": less,
	"go run ./examples/certified -data ...":    hours,

	"go build -tags mpi -o train ./examples/classify":            gate,
	"go test -tags mpi -c -o measure.test ./solvers/distributed": gate,
	"mpirun ...": cluster,

	"apt-get install jupyter-notebook":                     gate,
	"examples/notebooks/install.sh":                        gate,
	"jupyter notebook examples/notebooks":                  terminal,
	"make execute":                                         terminal,
	"make onnx ONNXRUNTIME=folder":                         modules,
	"go build -o ../pictures/classify ./examples/classify": followed,
	"cd ../pictures":                                       followed,
	"make browser":                                         terminal,
	"go run ./examples/classify -out run -serve :8080":     less,
}

// Every command of every page is run by a test or .ci/run, or it is known what it needs.
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
				entry := command
				for known := range commands {
					if begin, ok := strings.CutSuffix(known, "..."); ok && commands[entry] == "" && strings.HasPrefix(command+" ", begin) {
						entry = known
					}
				}
				if found[entry] = true; commands[entry] == "" {
					t.Errorf("%s: want %q in the table of this test", relative(page), command)
				}
			}
		}
	}
	for command, proof := range commands {
		if !found[command] {
			t.Errorf("no page has the command %q", command)
		}
		if proof != here || testing.Short() {
			continue
		}
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir = filepath.FromSlash(root)
		out, err := cmd.CombinedOutput()
		assert.NoError(t, err, "%s\n%s", command, out)
	}
}
