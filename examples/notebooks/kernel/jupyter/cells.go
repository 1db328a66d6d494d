// SPDX-License-Identifier: Apache-2.0

package jupyter

import (
	"encoding/json"
	"errors"
	"unicode/utf8"

	"github.com/kernelfold/kernelfold/examples/notebooks/display"
)

type executeReply struct {
	Status      string         `json:"status"`
	Count       int            `json:"execution_count"`
	Expressions map[string]any `json:"user_expressions,omitempty"`
	Name        string         `json:"ename,omitempty"`
	Value       string         `json:"evalue,omitempty"`
	Traceback   []string       `json:"traceback,omitempty"`
}

// bundle is a value as messages carry it.
type bundle struct {
	Data      display.Data      `json:"data"`
	Metadata  map[string]any    `json:"metadata"`
	Transient map[string]string `json:"transient,omitempty"`
	Count     int               `json:"execution_count,omitempty"`
}

// execute runs a cell.
func (s *Server) execute(m *message) {
	request := struct {
		Code   string `json:"code"`
		Silent bool   `json:"silent"`
		Store  bool   `json:"store_history"`
		StopOn bool   `json:"stop_on_error"`
	}{Store: true, StopOn: true}
	if err := json.Unmarshal(m.content, &request); err != nil {
		s.reply(s.shell, m, "execute_reply", executeReply{Status: "error", Count: s.count, Name: "request", Value: err.Error()})
		return
	}
	if !request.Silent && request.Store {
		s.count++
	}
	s.sending.Lock()
	s.parent = m
	s.sending.Unlock()
	if !request.Silent {
		s.publish(m, "execute_input", map[string]any{"code": request.Code, "execution_count": s.count})
	}
	value, err := s.cells.Execute(s.count, request.Code)
	if s.BeforeReply != nil {
		s.BeforeReply()
	}
	if err != nil {
		failure := new(Error)
		if !errors.As(err, &failure) {
			failure = &Error{Name: "error", Value: err.Error(), Traceback: []string{err.Error()}}
		}
		if request.StopOn {
			s.gather()
		}
		s.publish(m, "error", map[string]any{"ename": failure.Name, "evalue": failure.Value, "traceback": failure.Traceback})
		s.reply(s.shell, m, "execute_reply", executeReply{
			Status: "error", Count: s.count, Name: failure.Name, Value: failure.Value, Traceback: failure.Traceback,
		})
		return
	}
	if value != nil && !request.Silent {
		s.publish(m, "execute_result", bundle{Data: value, Metadata: map[string]any{}, Count: s.count})
	}
	s.reply(s.shell, m, "execute_reply", executeReply{Status: "ok", Count: s.count, Expressions: map[string]any{}})
}

// Stream shows text below the cell that was run last. The name is stdout or stderr.
func (s *Server) Stream(name, text string) error {
	return s.publish(s.last(), "stream", map[string]string{"name": name, "text": text})
}

// Show shows a value below the cell that was run last, or replaces one.
func (s *Server) Show(m display.Message) error {
	kind, b := "display_data", bundle{Data: m.Data, Metadata: map[string]any{}}
	if m.ID != "" {
		b.Transient = map[string]string{"display_id": m.ID}
	}
	if m.Update {
		kind = "update_display_data"
	}
	return s.publish(s.last(), kind, b)
}

// last is the request of the cell that was run last.
func (s *Server) last() *message {
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.parent
}

// cursor is the content of requests about a position in code.
type cursor struct {
	Code   string `json:"code"`
	Cursor int    `json:"cursor_pos"`
}

// at reads such a request, with the position in bytes.
func (m *message) at() (code string, pos int) {
	var c cursor
	if json.Unmarshal(m.content, &c) != nil {
		return "", 0
	}
	for range c.Cursor {
		_, n := utf8.DecodeRuneInString(c.Code[pos:])
		pos += n
	}
	return c.Code, pos
}

func (s *Server) complete(m *message) {
	type kind struct {
		Start int    `json:"start"`
		End   int    `json:"end"`
		Text  string `json:"text"`
		Type  string `json:"type"`
	}
	code, pos := m.at()
	start, end, found := s.cells.Complete(code, pos)
	start, end = utf8.RuneCountInString(code[:start]), utf8.RuneCountInString(code[:end])
	texts, kinds := make([]string, len(found)), make([]kind, len(found))
	for i, f := range found {
		texts[i], kinds[i] = f.Text, kind{start, end, f.Text, f.Kind}
	}
	s.reply(s.shell, m, "complete_reply", map[string]any{
		"status": "ok", "matches": texts, "cursor_start": start, "cursor_end": end,
		"metadata": map[string]any{"_jupyter_types_experimental": kinds},
	})
}

func (s *Server) inspect(m *message) {
	data := s.cells.Inspect(m.at())
	content := map[string]any{"status": "ok", "found": data != nil, "data": data, "metadata": map[string]any{}}
	if data == nil {
		content["data"] = map[string]any{}
	}
	s.reply(s.shell, m, "inspect_reply", content)
}

func (s *Server) isComplete(m *message) {
	code, _ := m.at()
	answer := map[string]any{"status": s.cells.IsComplete(code)}
	if answer["status"] == Incomplete {
		answer["indent"] = ""
	}
	s.reply(s.shell, m, "is_complete_reply", answer)
}
