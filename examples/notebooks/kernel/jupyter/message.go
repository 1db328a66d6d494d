// SPDX-License-Identifier: Apache-2.0

package jupyter

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// Connection says where a kernel listens. Jupyter passes it in a file.
type Connection struct {
	Transport string `json:"transport"`
	IP        string `json:"ip"`
	Shell     int    `json:"shell_port"`
	Control   int    `json:"control_port"`
	Stdin     int    `json:"stdin_port"`
	IOPub     int    `json:"iopub_port"`
	Heartbeat int    `json:"hb_port"`
	Key       string `json:"key"`
	Scheme    string `json:"signature_scheme"`
}

// ReadConnection reads a connection file.
func ReadConnection(path string) (Connection, error) {
	var c Connection
	text, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("jupyter: connection file: %w", err)
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return c, fmt.Errorf("jupyter: connection file %s: %w", path, err)
	}
	if c.Scheme != "" && c.Scheme != "hmac-sha256" {
		return c, fmt.Errorf("jupyter: connection file %s: want the signature scheme hmac-sha256, got %s", path, c.Scheme)
	}
	return c, nil
}

// header is the header of a message.
type header struct {
	ID       string `json:"msg_id"`
	Session  string `json:"session"`
	Username string `json:"username"`
	Date     string `json:"date"`
	Type     string `json:"msg_type"`
	Version  string `json:"version"`
}

// protocol is the version of Jupyter's messages: positions in code count Unicode characters.
const protocol = "5.3"

// message is what a frontend sends: who, what, and the content that depends on the type.
type message struct {
	identities [][]byte
	header     header
	raw        []byte // the header as it came, which answers refer to
	content    json.RawMessage
}

var (
	delimiter = []byte("<IDS|MSG>")

	errFrames    = errors.New("jupyter: want a delimiter and five frames")
	errSignature = errors.New("jupyter: the signature of a message is wrong")
)

// decode takes the frames of a message apart and checks the signature.
func decode(frames [][]byte, key []byte) (*message, error) {
	at := 0
	for at < len(frames) && !bytes.Equal(frames[at], delimiter) {
		at++
	}
	if len(frames) < at+6 {
		return nil, errFrames
	}
	signature, parts := frames[at+1], frames[at+2:at+6] // header, parent, metadata, content
	if len(key) > 0 && !hmac.Equal(signature, sign(parts, key)) {
		return nil, errSignature
	}
	m := &message{identities: frames[:at], raw: parts[0], content: parts[3]}
	if err := json.Unmarshal(m.raw, &m.header); err != nil {
		return nil, fmt.Errorf("jupyter: header of a message: %w", err)
	}
	return m, nil
}

// encode makes the frames of a message in answer to parent, which may be nil.
func encode(identities [][]byte, parent *message, kind, session string, content any, key []byte) ([][]byte, error) {
	head, err := json.Marshal(header{
		ID: rand.Text(), Session: session, Username: "kernel", Date: time.Now().UTC().Format(time.RFC3339Nano), Type: kind, Version: protocol,
	})
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("jupyter: %s: %w", kind, err)
	}
	about := []byte("{}")
	if parent != nil {
		about = parent.raw
	}
	parts := [][]byte{head, about, []byte("{}"), body}
	frames := append([][]byte{}, identities...)
	frames = append(frames, delimiter, nil)
	if len(key) > 0 {
		frames[len(frames)-1] = sign(parts, key)
	}
	return append(frames, parts...), nil
}

// sign returns the signature of the parts of a message in hexadecimal digits.
func sign(parts [][]byte, key []byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return hex.AppendEncode(nil, h.Sum(nil))
}
