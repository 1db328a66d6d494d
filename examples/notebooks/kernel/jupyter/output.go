// SPDX-License-Identifier: Apache-2.0

package jupyter

import (
	"bytes"
	"crypto/rand"
	"io"
	"os"
	"time"
	"unicode/utf8"
)

// Output is a file whose text is passed to show.
type Output struct {
	*os.File
	mark    []byte
	flushed chan struct{}
}

// pace is the time for which text is collected before it is shown, because a cell may print faster than a browser can show.
const pace = 20 * time.Millisecond

// NewOutput makes a file that can stand in for os.Stdout.
func NewOutput(show func(text string)) (*Output, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o := &Output{File: w, mark: []byte("\x00" + rand.Text() + "\x00"), flushed: make(chan struct{})}
	go o.copy(r, show)
	return o, nil
}

// Flush waits until everything that was written is shown.
func (o *Output) Flush() error {
	if _, err := o.Write(o.mark); err != nil {
		return err
	}
	<-o.flushed
	return nil
}

// copy shows the text from r, whole characters at a time. When it meets the mark that Flush has written, it reports that to Flush.
func (o *Output) copy(r io.ReadCloser, show func(string)) {
	defer r.Close()
	emit := func(b []byte) {
		if len(b) > 0 {
			show(string(b))
		}
	}
	var rest []byte
	buffer := make([]byte, 1<<16)
	for {
		n, err := r.Read(buffer)
		rest = append(rest, buffer[:n]...)
		for {
			before, after, found := bytes.Cut(rest, o.mark)
			if !found {
				break
			}
			emit(before)
			rest = bytes.Clone(after)
			o.flushed <- struct{}{}
		}
		if err != nil { // the other end was closed
			emit(rest)
			return
		}
		// Half a mark, or half a character, waits for its other half.
		keep := len(rest) - lastRune(rest)
		if utf8.FullRune(rest[len(rest)-keep:]) {
			keep = 0
		}
		for n := min(len(o.mark)-1, len(rest)); n > 0; n-- {
			if bytes.HasSuffix(rest, o.mark[:n]) {
				keep = n
				break
			}
		}
		emit(rest[:len(rest)-keep])
		rest = bytes.Clone(rest[len(rest)-keep:])
		time.Sleep(pace)
	}
}

// lastRune returns where the last character of b begins.
func lastRune(b []byte) int {
	at := len(b)
	for n := 0; at > 0 && n < utf8.UTFMax; n++ {
		at--
		if utf8.RuneStart(b[at]) {
			break
		}
	}
	return at
}
