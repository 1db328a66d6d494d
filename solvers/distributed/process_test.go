// SPDX-License-Identifier: Apache-2.0

//go:build mpi

package distributed_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/mpi"
	"github.com/kernelfold/kernelfold/internal/mpi/mpitest"
	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// endVariable says how rank 1 of TestRankThatEnds ends.
const endVariable = "KERNELFOLD_RANK_ENDS"

// TestRankThatEnds is the program of TestDeadRank.
func TestRankThatEnds(t *testing.T) {
	how := os.Getenv(endVariable)
	if how == "" {
		t.Skip("is run by TestDeadRank")
	}
	mpitest.Run(t, 2, func(t *testing.T, c mpi.Comm) {
		m := net(tensor.Float32, 1, false)
		solver := distributed.Average(distributed.Over(c), solvers.NewSGD(solvers.LearnRate(1e-6)))
		for step := range 1_000_000 {
			if step == 100 && c.Rank() == 1 {
				fmt.Println("rank 1 ends")
				switch how {
				case "kill":
					_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				case "exit":
					os.Exit(3)
				case "panic":
					panic("as told")
				}
			}
			gradients(m, step%10, c.Rank())
			require.NoError(t, solver.Step(all(m)))
		}
	})
}

// When a process dies the launcher ends the others, and says so by its status.
func TestDeadRank(t *testing.T) {
	if mpitest.Launched() {
		t.Skip("starts processes of its own")
	}
	for _, how := range []string{"kill", "exit", "panic"} {
		t.Run(how, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "mpirun", "--allow-run-as-root", "--oversubscribe", "-np", "2",
				os.Args[0], "-test.run", "^TestRankThatEnds$", "-test.v")
			for _, v := range os.Environ() { // this process is an MPI program itself
				if !strings.HasPrefix(v, "OMPI_") && !strings.HasPrefix(v, "PMIX_") {
					cmd.Env = append(cmd.Env, v)
				}
			}
			cmd.Env = append(cmd.Env, endVariable+"="+how)
			start := time.Now()
			out, err := cmd.CombinedOutput()
			t.Logf("%v after %v", err, time.Since(start))
			require.NoError(t, ctx.Err(), "hangs: %s", out)
			var status *exec.ExitError
			require.ErrorAs(t, err, &status, "%s", out)
			assert.NotZero(t, status.ExitCode())
			assert.Contains(t, string(out), "rank 1 ends")
		})
	}
}
