// SPDX-License-Identifier: Apache-2.0

package doctest

import (
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestStart does what docs/start.md says, in an empty folder, and TestInstall what README.md says, in that of a new
// module: the commands run in their order, main.go grows by the blocks, and every state of it prints what the page
// shows. A comment before a block repeats for the test what the text says:
//
//	<!-- main.go -->               the whole file
//	<!-- main.go: imports -->      in place of the imports
//	<!-- main.go: import -->       one import more
//	<!-- main.go: end of main -->  at the end of main
func TestStart(t *testing.T) {
	program := follow(t, read(t, filepath.Join(root, "docs/start.md")))
	_, want, _ := strings.Cut(read(t, filepath.Join(root, "examples/start/main.go")), "package main\n")
	_, got, _ := strings.Cut(program, "package main\n")
	require.Equal(t, want, got, "main.go at the end is examples/start")
}

func TestInstall(t *testing.T) {
	_, install, _ := strings.Cut(read(t, filepath.Join(root, "README.md")), "\n## Install\n")
	install, _, _ = strings.Cut(install, "\n## ")
	require.NotEmpty(t, follow(t, "    go mod init program\n\n"+install))
}

// follow does what a page says, and returns main.go as it is at the end.
func follow(t *testing.T, page string) string {
	if testing.Short() {
		t.Skip("-short: builds and runs programs")
	}
	checkout, err := filepath.Abs(root)
	require.NoError(t, err)
	dir := t.TempDir() // where the commands run
	program, printed := "", ""
	for _, p := range parts(page) {
		switch {
		case p.place != "":
			program = grown(t, program, p)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o666))
		case p.fence == "" && isCommand.MatchString(p.text):
			for command := range strings.Lines(p.text) {
				command = strings.TrimSpace(command)
				if strings.HasPrefix(command, "git clone <this repository> ") {
					continue // this checkout is the clone: what is built of it already is not built again
				}
				cmd := exec.Command("sh", "-c", strings.ReplaceAll(command, "../kernelfold", checkout)+" && pwd")
				cmd.Dir = dir
				out, err := cmd.CombinedOutput()
				text := strings.TrimSpace(string(out))
				if err != nil && noNetwork.MatchString(text) && os.Getenv("KERNELFOLD_REQUIRE_NETWORK") == "" {
					t.Skipf("%s needs the module proxy: %s", command, text)
				}
				require.NoError(t, err, "%s\n%s", command, text)
				end := strings.LastIndex(text, "\n") + 1
				printed, dir = text[:end], text[end:]
			}
		case p.fence == "":
			require.Contains(t, numbersHidden(printed), numbersHidden(p.text), "the page shows, but for the numbers, what is printed:\n%s", printed)
		}
	}
	return program
}

var (
	isCommand = regexp.MustCompile(`^(git|go|mkdir|cd) `)
	noNetwork = regexp.MustCompile(`dial tcp|no such host|module lookup disabled`)
	number    = regexp.MustCompile(`-?\d+(\.\d+)?(e[-+]?\d+)?`)
	timeLeft  = regexp.MustCompile(`, #s left`)
)

// numbersHidden replaces the numbers in an output, which differ between machines, and its line breaks.
func numbersHidden(output string) string {
	return timeLeft.ReplaceAllString(number.ReplaceAllString(strings.Join(strings.Fields(output), " "), "#"), "")
}

// part is a block of a page: between fences, or indented by four spaces, which has no fence.
type part struct {
	place string // in main.go
	fence string
	text  string
}

// parts are the blocks of a page in their order.
func parts(page string) []part {
	var all []part
	place, open, indented := "", false, false
	for line := range strings.Lines(page) {
		name, isFence := strings.CutPrefix(line, "```")
		text, isIndented := strings.CutPrefix(line, "    ")
		switch {
		case isFence && open:
			open = false
		case isFence:
			all = append(all, part{place: place, fence: strings.TrimSpace(name)})
			open, place = true, ""
		case open:
			all[len(all)-1].text += line
		case strings.HasPrefix(line, "<!-- main.go"):
			place = strings.TrimSpace(strings.Trim(strings.TrimSpace(line), "<!->"))
		case isIndented && indented:
			all[len(all)-1].text += text
		case isIndented:
			all = append(all, part{text: text})
		}
		indented = isIndented && !open
	}
	return all
}

// grown returns main.go with a block put where it belongs.
func grown(t *testing.T, program string, p part) string {
	t.Helper()
	imports := regexp.MustCompile(`(?s)import \(\n.*?\n\)\n`).FindString(program)
	switch p.place {
	case "main.go":
		program = p.text
	case "main.go: imports":
		program = strings.Replace(program, imports, p.text, 1)
	case "main.go: import":
		program = strings.Replace(program, imports, strings.TrimSuffix(imports, ")\n")+p.text+")\n", 1)
	case "main.go: end of main":
		program = strings.TrimSuffix(program, "}\n") + "\n" + p.text + "}\n"
	default:
		t.Fatalf("want a place in main.go, got %q", p.place)
	}
	source, err := format.Source([]byte(program))
	require.NoError(t, err, "main.go after %q", p.text)
	return string(source)
}
