// SPDX-License-Identifier: Apache-2.0

// Package jupyter is the half of a Jupyter kernel that talks to frontends: the sockets and messages of the messaging protocol
// (https://jupyter-client.readthedocs.io/en/stable/messaging.html). The other half, an Interpreter, runs the cells.
package jupyter

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-zeromq/zmq4"

	"github.com/kernelfold/kernelfold/examples/notebooks/display"
)

// Interpreter runs cells. Its methods are called one after the other, except Interrupt, which may be called at any time.
type Interpreter interface {
	// Execute runs cell number n and returns the value of its last line, nil without one. A failure is an *Error.
	Execute(n int, code string) (display.Data, error)
	// Interrupt makes the running Execute return soon.
	Interrupt()
	// Complete returns the completions for code[start:end], at the cursor.
	Complete(code string, cursor int) (start, end int, matches []Match)
	// Inspect describes the name at the cursor. It returns nil if it is unknown.
	Inspect(code string, cursor int) display.Data
	// IsComplete reports whether the code that was entered is complete.
	IsComplete(code string) Completeness
}

// Match is a completion and what it is: a function, a type, a package, ...
type Match struct{ Text, Kind string }

// Completeness is one of the answers of IsComplete.
type Completeness string

const (
	Complete   Completeness = "complete"
	Incomplete Completeness = "incomplete"
	Invalid    Completeness = "invalid"
)

// Error is a failure of a cell as front ends show it. The lines of Traceback may contain ANSI colours.
type Error struct {
	Name, Value string
	Traceback   []string
}

func (e *Error) Error() string { return e.Name + ": " + e.Value }

// Language describes the language of the interpreter to front ends.
type Language struct {
	Name      string `json:"name"`
	Version   string `json:"version"`
	MIMEType  string `json:"mimetype"`
	Extension string `json:"file_extension"`
}

// Info describes the kernel.
type Info struct {
	Name, Version, Banner string
	Language              Language
}

// Server serves frontends.
type Server struct {
	info    Info
	cells   Interpreter
	key     []byte
	session string

	// BeforeReply, unless it is nil, is called between the end of a cell and the reply, so that everything the cell has printed can be sent before
	// it.
	BeforeReply func()

	shell, control, stdin, iopub, heartbeat zmq4.Socket

	requests chan *message // of the shell channel
	ended    chan error    // why Serve returns
	refused  []*message    // cells that waited for one that failed, and what came between them

	sending sync.Mutex // of iopub, shell and control
	parent  *message   // what output belongs to: the request of the cell that was run last
	count   int        // of cells
}

// Listen makes the sockets of a connection.
func Listen(ctx context.Context, c Connection, info Info, cells Interpreter) (*Server, error) {
	s := &Server{
		info: info, cells: cells, key: []byte(c.Key), session: rand.Text(), requests: make(chan *message, 4096), ended: make(chan error, 1),
		shell: zmq4.NewRouter(ctx), control: zmq4.NewRouter(ctx), stdin: zmq4.NewRouter(ctx),
		heartbeat: zmq4.NewRep(ctx), iopub: zmq4.NewPub(ctx),
	}
	for _, l := range []struct {
		name   string
		socket zmq4.Socket
		port   int
	}{
		{"shell", s.shell, c.Shell}, {"control", s.control, c.Control}, {"stdin", s.stdin, c.Stdin},
		{"iopub", s.iopub, c.IOPub}, {"heartbeat", s.heartbeat, c.Heartbeat},
	} {
		separator := ":"
		if c.Transport == "ipc" {
			separator = "-"
		}
		if err := l.socket.Listen(fmt.Sprintf("%s://%s%s%d", c.Transport, c.IP, separator, l.port)); err != nil {
			return nil, errors.Join(fmt.Errorf("jupyter: socket of %s: %w", l.name, err), s.Close())
		}
	}
	return s, nil
}

// Close closes the sockets, which ends Serve.
func (s *Server) Close() error {
	return errors.Join(s.shell.Close(), s.control.Close(), s.stdin.Close(), s.iopub.Close(), s.heartbeat.Close())
}

// Serve answers frontends until one of them shuts the kernel down. Requests on the shell channel wait for one another; those on the
// control channel, to interrupt a cell and to shut down, wait for nothing.
func (s *Server) Serve() error {
	go s.beat()
	go s.receive(s.shell, func(m *message) { s.requests <- m })
	go s.receive(s.control, s.handleControl)
	go func() {
		for m := range s.requests {
			s.handleShell(m)
			refused := s.refused
			s.refused = nil
			for _, m := range refused {
				s.refuse(m)
			}
		}
	}()
	s.publish(nil, "status", status{"starting"})
	err := <-s.ended
	time.Sleep(linger)
	return err
}

// end has Serve return err, unless it was told another reason before.
func (s *Server) end(err error) {
	select {
	case s.ended <- err:
	default:
	}
}

// linger is the time for the last replies to be sent before the sockets are closed.
const linger = 100 * time.Millisecond

// receive passes the messages of a socket on until the socket is closed, which ends Serve.
func (s *Server) receive(socket zmq4.Socket, handle func(*message)) {
	for {
		raw, err := socket.Recv()
		if err != nil {
			s.end(fmt.Errorf("jupyter: %w", err))
			return
		}
		// A message that is no message, or with a foreign signature, is not answered.
		if m, err := decode(raw.Frames, s.key); err == nil {
			handle(m)
		}
	}
}

// beat returns what the heartbeat socket gets.
func (s *Server) beat() {
	for {
		m, err := s.heartbeat.Recv()
		if err != nil || s.heartbeat.Send(m) != nil {
			return
		}
	}
}

// patience is the time within which requests that were sent together with that of a cell arrive.
const patience = 50 * time.Millisecond

// gather takes the requests that wait for a cell that has failed, for example after Run All. It is called
// before the failure is reported, because the user may then send other cells.
func (s *Server) gather() {
	for {
		select {
		case m := <-s.requests:
			s.refused = append(s.refused, m)
		case <-time.After(patience):
			return
		}
	}
}

// refuse answers a gathered request. Its cells are not run.
func (s *Server) refuse(m *message) {
	if m.header.Type != "execute_request" {
		s.handleShell(m)
		return
	}
	s.busy(m, func() { s.reply(s.shell, m, "execute_reply", ok{"aborted"}) })
}

type status struct {
	State string `json:"execution_state"`
}

// busy tells frontends that a request is being answered, and that it was.
func (s *Server) busy(m *message, answer func()) {
	s.publish(m, "status", status{"busy"})
	answer()
	s.publish(m, "status", status{"idle"})
}

// handleShell answers a request.
func (s *Server) handleShell(m *message) {
	s.busy(m, func() {
		switch m.header.Type {
		case "execute_request":
			s.execute(m)
		case "complete_request":
			s.complete(m)
		case "inspect_request":
			s.inspect(m)
		case "is_complete_request":
			s.isComplete(m)
		default:
			s.common(s.shell, m)
		}
	})
}

// handleControl answers a request on the control channel.
func (s *Server) handleControl(m *message) {
	s.busy(m, func() {
		switch m.header.Type {
		case "interrupt_request":
			s.cells.Interrupt()
			s.reply(s.control, m, "interrupt_reply", okStatus)
		default:
			s.common(s.control, m)
		}
	})
}

type ok struct {
	Status string `json:"status"`
}

var okStatus = ok{"ok"}

// common answers what comes on both channels.
func (s *Server) common(socket zmq4.Socket, m *message) {
	switch m.header.Type {
	case "kernel_info_request":
		s.reply(socket, m, "kernel_info_reply", map[string]any{
			"status": "ok", "protocol_version": protocol, "implementation": s.info.Name, "implementation_version": s.info.Version,
			"language_info": s.info.Language, "banner": s.info.Banner, "help_links": []string{}, "debugger": false,
		})
	case "comm_info_request":
		s.reply(socket, m, "comm_info_reply", map[string]any{"status": "ok", "comms": map[string]any{}})
	case "history_request":
		s.reply(socket, m, "history_reply", map[string]any{"status": "ok", "history": []any{}})
	case "shutdown_request":
		s.shutdown(socket, m)
	}
}

// shutdown answers a request to end, after which Serve returns.
func (s *Server) shutdown(socket zmq4.Socket, m *message) {
	var request struct {
		Restart bool `json:"restart"`
	}
	json.Unmarshal(m.content, &request) // without a content it is no restart
	content := map[string]any{"status": "ok", "restart": request.Restart}
	s.reply(socket, m, "shutdown_reply", content)
	s.publish(m, "shutdown_reply", content)
	s.end(nil)
}

// publish sends a message to all front ends. The socket drops messages that it cannot send.
func (s *Server) publish(parent *message, kind string, content any) error {
	frames, err := encode([][]byte{[]byte(kind)}, parent, kind, s.session, content, s.key)
	if err != nil {
		return err
	}
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.iopub.SendMulti(zmq4.NewMsgFrom(frames...))
}

// reply answers one frontend.
func (s *Server) reply(socket zmq4.Socket, m *message, kind string, content any) error {
	frames, err := encode(m.identities, m, kind, s.session, content, s.key)
	if err != nil {
		return err
	}
	s.sending.Lock()
	defer s.sending.Unlock()
	return socket.SendMulti(zmq4.NewMsgFrom(frames...))
}
