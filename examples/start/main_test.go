// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The program does what its page says: a report of two kernels on Stiefel, a
// file, and classes that are mostly the labels.
func TestStart(t *testing.T) {
	t.Chdir(t.TempDir())
	stdout := os.Stdout
	r, w, err := os.Pipe()
	require.NoError(t, err)
	os.Stdout = w
	read := make(chan string)
	go func() {
		b, _ := io.ReadAll(r)
		read <- string(b)
	}()
	main()
	os.Stdout = stdout
	require.NoError(t, w.Close())
	out := <-read

	require.Regexp(t, `(?m)^2 kernels on Stiefel, filter bank, membership <= \d\.\de-07$`, out)
	require.Contains(t, strings.Join(strings.Fields(out), " "), "kernel: filter of Conv2d")
	require.Contains(t, out, "projected at first")
	require.FileExists(t, "out/start/best.safetensors")
	numbers := regexp.MustCompile(`\d`)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	classes := numbers.FindAllString(lines[len(lines)-2], -1)
	labels := numbers.FindAllString(lines[len(lines)-1], -1)
	require.Len(t, classes, 10, out)
	right := 0
	for i, c := range classes {
		if c == labels[i] {
			right++
		}
	}
	require.GreaterOrEqual(t, right, 7, out)
}

// Help is asked for, and arguments are refused in one line.
func TestArguments(t *testing.T) {
	for argument, status := range map[string]int{"-h": 0, "-help": 0, "--help": 0, "-x": 2, "x": 2} {
		var stdout, stderr bytes.Buffer
		require.Equal(t, status, refuse(argument, &stdout, &stderr), argument)
		require.Equal(t, status == 0, strings.Contains(stdout.String(), "It takes no flags"))
		if status != 0 {
			require.Equal(t, "start: want no arguments, got \""+argument+"\" (-h says what it does)\n", stderr.String())
		}
	}
}
