// SPDX-License-Identifier: Apache-2.0

//go:build kernel

package interp

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/examples/notebooks/display"
	"github.com/kernelfold/kernelfold/examples/notebooks/kernel/docs"
	"github.com/kernelfold/kernelfold/examples/notebooks/kernel/jupyter"
)

// frontend talks to a kernel as a browser does, through Jupyter's messages.
type frontend struct {
	t                     *testing.T
	shell, control, iopub zmq4.Socket
	key                   []byte
	sent                  int
	interp                *Interp
	served                chan error

	mu     sync.Mutex
	events []event // of iopub
}

type event struct {
	Parent, Type string
	Content      map[string]any
}

// start serves an interpreter on free ports.
func start(t *testing.T) *frontend {
	t.Helper()
	ports := make([]int, 5)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return connect(t, ports)
}

func connect(t *testing.T, ports []int) *frontend {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &frontend{t: t, key: []byte("secret"), interp: New(testDocs), served: make(chan error, 1)}
	c := jupyter.Connection{
		Transport: "tcp", IP: "127.0.0.1", Key: string(f.key),
		Shell: ports[0], Control: ports[1], IOPub: ports[2], Stdin: ports[3], Heartbeat: ports[4],
	}
	var server *jupyter.Server
	var err error
	// The ports were free a moment ago, and still are unless another process was quick.
	for range 50 {
		if server, err = jupyter.Listen(ctx, c, jupyter.Info{Name: "test"}, f.interp); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
		for i := range ports {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			ports[i] = l.Addr().(*net.TCPAddr).Port
			l.Close()
		}
		c.Shell, c.Control, c.IOPub, c.Stdin, c.Heartbeat = ports[0], ports[1], ports[2], ports[3], ports[4]
	}
	require.NoError(t, err)
	display.Connect(server.Show, f.interp.Interrupted)
	out, err := jupyter.NewOutput(func(text string) { server.Stream("stdout", text) })
	require.NoError(t, err)
	errs, err := jupyter.NewOutput(func(text string) { server.Stream("stderr", text) })
	require.NoError(t, err)
	server.BeforeReply = func() { out.Flush(); errs.Flush() }
	oldOut, oldErr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = out.File, errs.File
	go func() { f.served <- server.Serve() }()
	at := func(port int) string { return fmt.Sprintf("tcp://127.0.0.1:%d", port) }
	f.shell, f.control, f.iopub = zmq4.NewDealer(ctx), zmq4.NewDealer(ctx), zmq4.NewSub(ctx)
	require.NoError(t, f.shell.Dial(at(c.Shell)))
	require.NoError(t, f.control.Dial(at(c.Control)))
	require.NoError(t, f.iopub.Dial(at(c.IOPub)))
	require.NoError(t, f.iopub.SetOption(zmq4.OptionSubscribe, ""))
	go f.listen()
	t.Cleanup(func() {
		os.Stdout, os.Stderr = oldOut, oldErr
		display.Connect(nil, nil)
		out.Close()
		errs.Close()
		f.shell.Close()
		f.control.Close()
		f.iopub.Close()
		server.Close()
		cancel()
	})
	// The subscription takes effect a moment later.
	require.Eventually(t, func() bool {
		f.ask(f.shell, "kernel_info_request", map[string]any{})
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.events) > 0
	}, 10*time.Second, 10*time.Millisecond)
	return f
}

func (f *frontend) listen() {
	for {
		m, err := f.iopub.Recv()
		if err != nil {
			return
		}
		e, ok := f.parse(m.Frames)
		if ok {
			f.mu.Lock()
			f.events = append(f.events, e)
			f.mu.Unlock()
		}
	}
}

func (f *frontend) sign(parts [][]byte) string {
	h := hmac.New(sha256.New, f.key)
	for _, p := range parts {
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (f *frontend) parse(frames [][]byte) (e event, ok bool) {
	for len(frames) > 0 && string(frames[0]) != "<IDS|MSG>" {
		frames = frames[1:]
	}
	if len(frames) < 6 || f.sign(frames[2:6]) != string(frames[1]) {
		return e, false
	}
	var head, parent map[string]any
	if json.Unmarshal(frames[2], &head) != nil || json.Unmarshal(frames[3], &parent) != nil || json.Unmarshal(frames[5], &e.Content) != nil {
		return e, false
	}
	e.Type, _ = head["msg_type"].(string)
	e.Parent, _ = parent["msg_id"].(string)
	return e, true
}

// send sends a request and returns its id.
func (f *frontend) send(socket zmq4.Socket, kind string, content map[string]any) string {
	f.t.Helper()
	f.sent++
	id := fmt.Sprint("request ", f.sent)
	head, err := json.Marshal(map[string]any{"msg_id": id, "msg_type": kind, "session": "s", "username": "u", "date": "", "version": "5.3"})
	require.NoError(f.t, err)
	body, err := json.Marshal(content)
	require.NoError(f.t, err)
	parts := [][]byte{head, []byte("{}"), []byte("{}"), body}
	frames := append([][]byte{[]byte("<IDS|MSG>"), []byte(f.sign(parts))}, parts...)
	require.NoError(f.t, socket.SendMulti(zmq4.NewMsgFrom(frames...)))
	return id
}

// receive returns the next answer.
func (f *frontend) receive(socket zmq4.Socket) event {
	f.t.Helper()
	type result struct {
		m   zmq4.Msg
		err error
	}
	got := make(chan result, 1)
	go func() { m, err := socket.Recv(); got <- result{m, err} }()
	select {
	case r := <-got:
		require.NoError(f.t, r.err)
		e, ok := f.parse(r.m.Frames)
		require.True(f.t, ok)
		return e
	case <-time.After(20 * time.Second):
		require.Fail(f.t, "no answer within 20 s")
		return event{}
	}
}

func (f *frontend) ask(socket zmq4.Socket, kind string, content map[string]any) map[string]any {
	f.t.Helper()
	id := f.send(socket, kind, content)
	e := f.receive(socket)
	require.Equal(f.t, id, e.Parent)
	return e.Content
}

// outcome is what a cell has led to.
type outcome struct {
	reply          map[string]any
	stdout, stderr string
	value          string
	shown          []string // of the messages that show a value: the type, a space and the text
	error          string   // the traceback without colours
}

func (f *frontend) submit(code string) string {
	f.t.Helper()
	return f.send(f.shell, "execute_request", map[string]any{
		"code": code, "silent": false, "store_history": true, "stop_on_error": true, "user_expressions": map[string]any{}, "allow_stdin": false,
	})
}

func (f *frontend) run(code string) outcome {
	f.t.Helper()
	id := f.submit(code)
	return f.outcome(id)
}

var colours = regexp.MustCompile("\x1b\\[[0-9;]*m")

func (f *frontend) outcome(id string) outcome {
	f.t.Helper()
	e := f.receive(f.shell)
	require.Equal(f.t, id, e.Parent)
	o := outcome{reply: e.Content}
	var mine []event
	require.Eventually(f.t, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		mine = mine[:0]
		for _, e := range f.events {
			if e.Parent == id {
				mine = append(mine, e)
			}
		}
		return len(mine) > 0 && mine[len(mine)-1].Content["execution_state"] == "idle"
	}, 20*time.Second, time.Millisecond)
	plain := func(e event) string { return e.Content["data"].(map[string]any)["text/plain"].(string) }
	for _, e := range mine {
		switch e.Type {
		case "stream":
			if e.Content["name"] == "stdout" {
				o.stdout += e.Content["text"].(string)
			} else {
				o.stderr += e.Content["text"].(string)
			}
		case "execute_result":
			o.value = plain(e)
		case "display_data", "update_display_data":
			o.shown = append(o.shown, e.Type+" "+plain(e))
		case "error":
			var lines []string
			for _, l := range e.Content["traceback"].([]any) {
				lines = append(lines, l.(string))
			}
			o.error = colours.ReplaceAllString(strings.Join(lines, "\n"), "")
		}
	}
	return o
}

// ok runs a cell that has to succeed.
func (f *frontend) ok(code string) outcome {
	f.t.Helper()
	o := f.run(code)
	require.Equal(f.t, "ok", o.reply["status"], "%s\n%s", code, o.error)
	return o
}

func TestValuesAndText(t *testing.T) {
	f := start(t)
	assert.Equal(t, "3", f.ok("1 + 2").value)
	o := f.ok("import \"fmt\"\nfmt.Println(\"häl\", 1)")
	assert.Equal(t, "häl 1\n", o.stdout)
	assert.Empty(t, o.value, "nobody wants to see what Println returns")
	assert.Equal(t, "2.5 a", f.ok("func two() (float64, string) { return 2.5, \"a\" }\ntwo()").value)
	assert.Equal(t, "7", f.ok("import \"strconv\"\nstrconv.Atoi(\"7\")").value, "a nil error is not shown")
	assert.Contains(t, f.ok("strconv.Atoi(\"x\")").value, "invalid syntax")
	assert.Empty(t, f.ok("var e error\ne").value)
	assert.Equal(t, "2", f.ok("// a comment\n\nx := 2\nx").value)
	assert.Empty(t, f.ok("").value)
	assert.Equal(t, "err\n", f.ok("import \"os\"\nfmt.Fprintln(os.Stderr, \"err\")").stderr)
	long := f.ok("for i := 0; i < 20000; i++ { fmt.Println(\"é\", i) }").stdout
	assert.Equal(t, 20000, strings.Count(long, "é"), "characters stay whole")
	assert.EqualValues(t, 11, f.ok("1").reply["execution_count"])
	f.ok("type T struct{ n int }\nfunc (t T) String() string { return fmt.Sprint(\"T of \", t.n) }")
	assert.Equal(t, "T of 4", f.ok("T{4}").value, "a method of the notebook")
}

func TestErrors(t *testing.T) {
	f := start(t)
	f.ok("import \"fmt\"\nimport \"errors\"\nweights := []int{1, 2, 3}") // cell 1
	f.ok("// pick picks.\nfunc pick(i int) int {\n\tj := i\n\treturn weights[j]\n}\ntype T struct{ Size int }\nfunc (t T) Fail() {\n\tpanic(errors.New(\"no luck\"))\n}")
	o := f.run("x := 1\nfmt.Println(x)\nfor i := 0; i < 9; i++ {\n\tpick(i)\n}")
	assert.Equal(t, "1\n", o.stdout)
	assert.Equal(t, "panic", o.reply["ename"])
	assert.Contains(t, o.reply["evalue"], "index out of range")
	assert.Contains(t, o.error, "cell [2], line 4, in pick")
	assert.Contains(t, o.error, "-->   4  \treturn weights[j]")
	assert.Contains(t, o.error, "cell [3], line 4\n")
	assert.Less(t, strings.Index(o.error, "cell [2]"), strings.Index(o.error, "cell [3]"), "the innermost place comes first")
	assert.Equal(t, "1", f.ok("x").value, "what was done before the panic is kept")

	o = f.run("1 + 1\nT{}.Fail()")
	assert.Equal(t, "no luck", o.reply["evalue"])
	assert.Contains(t, o.error, "cell [2], line 8, in T.Fail")
	assert.Contains(t, o.error, "cell [5], line 2\n")

	o = f.run("panic(\"here\")")
	assert.Equal(t, "here", o.reply["evalue"])
	assert.Contains(t, o.error, "cell [6], line 1\n-->   1  panic(\"here\")")

	o = f.run("import \"io/fs\"\nvar none *fs.PathError\npanic(none)")
	assert.Equal(t, "<nil>", o.reply["evalue"])

	o = f.run("import \"strings\"\nstrings.Repeat(\"a\", -1)")
	assert.Contains(t, o.error, "in compiled code\n    strings.Repeat, strings.go:")
	assert.Contains(t, o.error, "cell [8], line 2")

	o = f.run("func broken() {\n\tx := \n}")
	assert.Equal(t, "syntax error", o.reply["ename"])
	assert.Contains(t, o.error, "cell [9], line 3")

	o = f.run("func deep(n int) int { return deep(n+1) + 1 }\ndeep(0)")
	assert.Equal(t, "stack overflow", o.reply["evalue"])
	assert.Contains(t, o.error, "more ...")

	o = f.ok("go func() { panic(\"aside\") }()\nimport \"time\"\ntime.Sleep(50 * time.Millisecond)")
	assert.Equal(t, "panic of a goroutine: aside\n", o.stderr)
	assert.Equal(t, "1", f.ok("x").value)
}

// A name that does not exist is named before any of the cell is run, and nothing is changed.
func TestTypos(t *testing.T) {
	f := start(t)
	f.ok("import \"strings\"\nlearnRate := 0.5\nn := 3\ntype Model struct{ Weights []int }\nvar m Model\nfunc (m Model) Train() {}")
	for code, want := range map[string]string{
		"n := 4\nlearnRate = learnrate":  "learnrate is not defined; did you mean learnRate?",
		"n := \"a\"\nstrings.ToUper(n)":  "ToUper does not exist in package strings; did you mean ToUpper?",
		"m.Weight":                       "Weight does not exist: m has no such field or method; did you mean Weights?",
		"m.Trian()":                      "Trian does not exist: m has no such field or method; did you mean Train?",
		"quux":                           "quux is not defined",
		"bytes.NewReader(nil)":           `bytes is not defined; to use the package: import "bytes"`,
		"n = 7\nfunc g() {\n\tnope()\n}": "nope is not defined",
	} {
		o := f.run(code)
		assert.Equal(t, "compile error", o.reply["ename"], code)
		assert.Equal(t, want, o.reply["evalue"], code)
		line := 1 + strings.Count(code, "\n")
		if strings.Contains(code, "nope") {
			line = 3
		}
		assert.Contains(t, o.error, fmt.Sprintf("cell [%v], line %d", o.reply["execution_count"], line), code)
	}
	assert.Equal(t, "3 0.5", f.ok("import \"fmt\"\nfmt.Sprint(n, \" \", learnRate)").value)
}

// interruptAfter interrupts the kernel a moment later.
func (f *frontend) interruptAfter(d time.Duration) {
	f.t.Helper()
	time.Sleep(d)
	assert.Equal(f.t, "ok", f.ask(f.control, "interrupt_request", map[string]any{})["status"])
}

func TestInterrupt(t *testing.T) {
	f := start(t)
	f.ok("import \"time\"\nn := 0\nfunc spin() { for { n++ } }\nfunc recovers() {\n\tdefer func() { recover() }()\n\tspin()\n}")
	for _, code := range []string{
		"for { n++ }", "for {\n}", "spin()", "f := func() { for { n++ } }\nf()", "for { recovers() }", "for { time.Sleep(time.Millisecond) }",
		"defer func() { n++ }()\nspin()",
	} {
		began := time.Now()
		id := f.submit(code)
		f.interruptAfter(100 * time.Millisecond)
		o := f.outcome(id)
		assert.Equal(t, "interrupted", o.reply["ename"], code)
		assert.Contains(t, o.error, "line ", code)
		assert.Less(t, time.Since(began), 10*time.Second, code)
	}
	assert.Equal(t, "true", f.ok("n > 1000").value, "variables are kept")
	f.ask(f.control, "interrupt_request", map[string]any{})
	assert.Equal(t, "5", f.ok("2 + 3").value, "an interrupt between cells does nothing")

	// Cells that wait for the interrupted one are refused.
	first, second := f.submit("spin()"), f.submit("n = -1")
	f.interruptAfter(100 * time.Millisecond)
	assert.Equal(t, "error", f.outcome(first).reply["status"])
	assert.Equal(t, "aborted", f.outcome(second).reply["status"])
	assert.Equal(t, "true", f.ok("n > 1000").value)
}

// A compiled function cannot be stopped: the second interrupt leaves it behind.
func TestInterruptTwice(t *testing.T) {
	f := start(t)
	f.ok("block := make(chan int)\nkept, after := 7, 0\nfunc wait() int {\n\tx := <-block\n\tfor i := 0; i < 1000; i++ { after++ }\n\treturn x\n}")
	id := f.submit("wait()\nafter = -1")
	f.interruptAfter(100 * time.Millisecond)
	time.Sleep(2600 * time.Millisecond)
	f.interruptAfter(0)
	o := f.outcome(id)
	assert.Equal(t, "interrupted", o.reply["ename"])
	assert.Contains(t, o.stderr, "Interrupt again")
	assert.Equal(t, "7", f.ok("kept").value)
	assert.Equal(t, "8", f.ok("func add(i int) int { return kept + i }\nadd(1)").value)
	f.ok("block <- 1") // the function returns, and its cell ends
	time.Sleep(100 * time.Millisecond)
	assert.Equal(t, "true", f.ok("after >= 0 && after < 1000").value, "the cell that was left behind does not go on")

	// The interpreter works as before.
	id = f.submit("for { kept++ }")
	f.interruptAfter(100 * time.Millisecond)
	assert.Equal(t, "interrupted", f.outcome(id).reply["ename"])
}

var testDocs = docs.Docs{
	"strings":                {Declaration: "", Comment: "Package strings is about strings."},
	"strings.ToUpper":        {Declaration: "func ToUpper(s string) string", Comment: "ToUpper returns s in capitals."},
	"strings.Builder":        {Declaration: "type Builder struct{}", Comment: "A Builder builds."},
	"strings.Builder.Len":    {Declaration: "func (b *Builder) Len() int", Comment: "Len returns the length."},
	"builtin.append":         {Declaration: "func append(slice []Type, elems ...Type) []Type", Comment: "The append function appends."},
	"builtin.for":            {Declaration: "for", Comment: ""},
	"bytes.Buffer":           {Declaration: "type Buffer struct{}", Comment: "A Buffer is a buffer."},
	"bytes.Buffer.WriteByte": {Declaration: "func (b *Buffer) WriteByte(c byte) error", Comment: "WriteByte writes."},
}

func (f *frontend) inspect(code string) string {
	f.t.Helper()
	cursor := strings.Index(code, "|")
	code = strings.Replace(code, "|", "", 1)
	reply := f.ask(f.shell, "inspect_request", map[string]any{"code": code, "cursor_pos": len([]rune(code[:cursor])), "detail_level": 0})
	assert.Equal(f.t, "ok", reply["status"])
	if found := reply["found"].(bool); !found {
		return ""
	}
	return colours.ReplaceAllString(reply["data"].(map[string]any)["text/plain"].(string), "")
}

func TestInspect(t *testing.T) {
	f := start(t)
	f.ok("import \"strings\"\nimport \"bytes\"\nvar b strings.Builder\nname := \"ab\"\n// twice doubles.\n// Always.\nfunc twice(n int) int {\n\treturn 2 * n\n}")
	f.ok("type Wrapped struct {\n\t*bytes.Buffer\n\tn int\n}\nvar w Wrapped")
	upper := "func ToUpper(s string) string\n\nToUpper returns s in capitals."
	for code, want := range map[string]string{
		"strings.ToUp|per(name)":               upper,
		"strings.ToUpper|":                     upper,
		"x := strings.ToUpper(|)":              upper,
		"x := strings.ToUpper(name + \"é\" |)": upper,
		"é := strings.ToUpper|":                upper,
		"str|ings":                             "package strings // import \"strings\"\n\nPackage strings is about strings.",
		"strings.Builder|":                     "type Builder struct{}\n\nA Builder builds.",
		"b.Len|()":                             "func (b *Builder) Len() int\n\nLen returns the length.",
		"b|":                                   "var b strings.Builder\n\ntype Builder struct{}\n\nA Builder builds.",
		"name|":                                "var name string = \"ab\"",
		"twice|(3)":                            "func twice(n int) int\n\ntwice doubles. Always.",
		"append|":                              testDocs["builtin.append"].Declaration + "\n\nThe append function appends.",
		"w.WriteByte|":                         "func (b *Buffer) WriteByte(c byte) error\n\nWriteByte writes.",
		"Wrapped|":                             "type Wrapped struct {\n\t*bytes.Buffer\n\tn int\n}",
		"w.n|":                                 "n int",
		"c := bytes.NewBuffer(nil)\nc.WriteByte|": "func (b *Buffer) WriteByte(c byte) error\n\nWriteByte writes.",
		"nonesuch|": "",
		"1 + 2|":    "",
	} {
		assert.Equal(t, want, f.inspect(code), code)
	}
	assert.Equal(t, "ab", f.ok("name").value, "nothing was declared")
}

func (f *frontend) complete(code string) (string, []string) {
	f.t.Helper()
	cursor := len([]rune(code[:strings.Index(code, "|")]))
	code = strings.Replace(code, "|", "", 1)
	reply := f.ask(f.shell, "complete_request", map[string]any{"code": code, "cursor_pos": cursor})
	assert.Equal(f.t, "ok", reply["status"])
	var list []string
	for _, m := range reply["matches"].([]any) {
		list = append(list, m.(string))
	}
	assert.EqualValues(f.t, cursor, reply["cursor_end"])
	return string([]rune(code)[int(reply["cursor_start"].(float64)):cursor]), list
}

func TestComplete(t *testing.T) {
	f := start(t)
	f.ok("import \"strings\"\nimport \"bytes\"\nimport \"time\"\nlearningRate := 0.1\ntype Layer struct{ Weights []float64; inner bytes.Buffer }\nfunc (l *Layer) Wide() bool { return true }\nlayers := []*Layer{}")
	for code, want := range map[string][]string{
		"strings.ToUpp|":                       {"ToUpp", "ToUpper", "ToUpperSpecial"},
		"é := strings.ToUpp| + x":              {"ToUpp", "ToUpper", "ToUpperSpecial"},
		"learn|":                               {"learn", "learningRate"},
		"layers[0].W|":                         {"W", "Weights", "Wide"},
		"layers[0].inner.WriteS|":              {"WriteS", "WriteString"},
		"bytes.NewBuffer(nil).WriteS|":         {"WriteS", "WriteString"},
		"Layer{}.We|":                          {"We", "Weights"},
		"b := bytes.NewBuffer(nil)\nb.WriteS|": {"WriteS", "WriteString"},
		"var l Layer\nl.Wi|":                   {"Wi", "Wide"},
		"func f(l *Layer, n int) { l.Wi|":      {"Wi", "Wide"},
		"time.Now().Nanos|":                    {"Nanos", "Nanosecond"},
		"fallth|":                              {"fallth", "fallthrough"},
		"newName := 1\nnewN|":                  {"newN", "newName"},
		"import \"compress/g|":                 {"compress/g", "compress/gzip"},
		"import (\n\t\"compress/g|":            {"compress/g", "compress/gzip"},
		"x := \"learn|":                        {""},
		"nonesuch.|":                           {""},
		"strings.nonesuch|":                    {"nonesuch"},
	} {
		prefix, matches := f.complete(code)
		assert.Equal(t, want, append([]string{prefix}, matches...), code)
	}
	_, all := f.complete("layers[0].|")
	assert.Contains(t, all, "Weights")
	assert.Contains(t, all, "inner", "of a type of the notebook, also what is not exported")
	_, all = f.complete("bytes.NewBuffer(nil).|")
	assert.Contains(t, all, "String")
	assert.NotContains(t, all, "buf")
}

func TestIsComplete(t *testing.T) {
	f := start(t)
	for code, want := range map[string]string{
		"x := 1": "complete", "for i := 0; i < 3; i++ {": "incomplete", "f(1,": "incomplete", "x := ": "incomplete", "x := `a": "incomplete",
		"x y z": "invalid", "func f() {\n}": "complete", "}": "invalid", "": "complete",
	} {
		assert.Equal(t, want, f.ask(f.shell, "is_complete_request", map[string]any{"code": code})["status"], code)
	}
}

// A request to shut down is answered at once, also while a cell is run.
func TestRestart(t *testing.T) {
	f := start(t)
	f.submit("for {}")
	time.Sleep(50 * time.Millisecond)
	reply := f.ask(f.control, "shutdown_request", map[string]any{"restart": true})
	assert.Equal(t, true, reply["restart"])
	select {
	case err := <-f.served:
		assert.NoError(t, err)
	case <-time.After(5 * time.Second):
		assert.Fail(t, "the kernel goes on")
	}
	f.interp.Interrupt()
}

// A frontend may send the request to shut down on the shell channel, too. It is answered and told that the kernel is idle.
func TestShutdownOnShell(t *testing.T) {
	f := start(t)
	reply := f.ask(f.shell, "shutdown_request", map[string]any{})
	assert.Equal(t, false, reply["restart"])
	select {
	case err := <-f.served:
		assert.NoError(t, err)
	case <-time.After(5 * time.Second):
		assert.Fail(t, "the kernel goes on")
	}
	assert.Eventually(t, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		told := slices.IndexFunc(f.events, func(e event) bool { return e.Type == "shutdown_reply" })
		return told >= 0 && slices.ContainsFunc(f.events[told:], func(e event) bool { return e.Content["execution_state"] == "idle" })
	}, 5*time.Second, 10*time.Millisecond)
}

func TestDocs(t *testing.T) {
	var b strings.Builder
	require.NoError(t, testDocs.Write(&b))
	d, err := docs.Read([]byte(b.String()))
	require.NoError(t, err)
	assert.Equal(t, testDocs, d)
	_, err = docs.Read([]byte("no docs"))
	assert.ErrorContains(t, err, "docs: ")
}
