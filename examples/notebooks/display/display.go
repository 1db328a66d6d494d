// SPDX-License-Identifier: Apache-2.0

// Package display shows pictures, tables and text below a cell of a notebook. A value at the end of a cell is shown
// without this package; Show shows a value at any point of a cell, and a Handle replaces what it has shown before:
//
//	display.Show(figures.Lines{...})
//
//	bar := display.New()
//	for i := 0; i < 100; i++ {
//		bar.Show(display.HTML(fmt.Sprintf("<progress max=99 value=%d></progress>", i)))
//	}
//
// A value is shown by its methods: PNG() []byte, JPEG() []byte, SVG() string, HTML() string, Markdown() string and
// Latex() string, of which it may have several; an image.Image is shown as PNG, and any other value as text, by
// package fmt. Outside of a notebook nothing is shown, and Show returns ErrNoNotebook.
package display

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"image"
	"image/png"
	"sync"
)

// Data is a value in one or more formats by their MIME types: text as a string, binary formats as []byte.
type Data map[string]any

// The MIME types that Of and the functions below make.
const (
	typeText     = "text/plain"
	typeHTML     = "text/html"
	typeMarkdown = "text/markdown"
	typeLatex    = "text/latex"
	typeSVG      = "image/svg+xml"
	typePNG      = "image/png"
	typeJPEG     = "image/jpeg"
)

// ErrNoNotebook is the error of Show in a program that is not a notebook.
var ErrNoNotebook = errors.New("display: want a notebook to show a value in, got none")

// ErrInterrupted is the error of Interrupted.
var ErrInterrupted = errors.New("display: the cell was interrupted")

// HTML is a text in HTML.
func HTML(text string) Data { return Data{typeHTML: text, typeText: text} }

// Markdown is a text in Markdown.
func Markdown(text string) Data { return Data{typeMarkdown: text, typeText: text} }

// Latex is a text in LaTeX, with its $ or $$.
func Latex(text string) Data { return Data{typeLatex: text, typeText: text} }

// SVG is a drawing in SVG.
func SVG(text string) Data { return Data{typeSVG: text, typeText: "drawing"} }

// PNG is a picture in PNG.
func PNG(picture []byte) Data { return Data{typePNG: picture, typeText: "picture"} }

// JPEG is a picture in JPEG.
func JPEG(picture []byte) Data { return Data{typeJPEG: picture, typeText: "picture"} }

// Of returns the formats of a value.
func Of(v any) Data {
	if d, ok := v.(Data); ok {
		return d
	}
	d := Data{typeText: fmt.Sprint(v)}
	if v, ok := v.(interface{ HTML() string }); ok {
		d[typeHTML] = v.HTML()
	}
	if v, ok := v.(interface{ Markdown() string }); ok {
		d[typeMarkdown] = v.Markdown()
	}
	if v, ok := v.(interface{ Latex() string }); ok {
		d[typeLatex] = v.Latex()
	}
	if v, ok := v.(interface{ SVG() string }); ok {
		d[typeSVG] = v.SVG()
	}
	if v, ok := v.(interface{ PNG() []byte }); ok {
		d[typePNG] = v.PNG()
	}
	if v, ok := v.(interface{ JPEG() []byte }); ok {
		d[typeJPEG] = v.JPEG()
	}
	if i, ok := v.(image.Image); ok && d[typePNG] == nil {
		var b bytes.Buffer
		if err := png.Encode(&b, i); err != nil {
			return Data{typeText: err.Error()}
		}
		d[typePNG] = b.Bytes()
		d[typeText] = fmt.Sprintf("picture of %d x %d", i.Bounds().Dx(), i.Bounds().Dy())
	}
	return d
}

// Show shows a value below the cell.
func Show(v any) error { return send(Message{Data: Of(v)}) }

// Handle is an output area below a cell whose value can be replaced, also by cells that run later.
type Handle struct {
	mu    sync.Mutex
	id    string
	shown bool
}

// New returns an output area that is empty at first.
func New() *Handle { return &Handle{id: rand.Text()} }

// Show shows a value below the cell that calls it first. Later calls replace that value.
func (h *Handle) Show(v any) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	err := send(Message{Data: Of(v), ID: h.id, Update: h.shown})
	h.shown = h.shown || err == nil
	return err
}

// Interrupted returns ErrInterrupted if the running cell was interrupted. Loops in compiled packages, which the interpreter cannot stop, can use it
// to end.
func Interrupted() error {
	connection.Lock()
	defer connection.Unlock()
	if connection.interrupted != nil && connection.interrupted() {
		return ErrInterrupted
	}
	return nil
}

// Message is a value for the kernel to show.
type Message struct {
	Data   Data
	ID     string // of the output area, empty if there is none
	Update bool   // whether the message replaces what the area shows
}

var connection struct {
	sync.Mutex
	send        func(Message) error
	interrupted func() bool
}

// Connect is called by the kernel of a notebook, which shows messages and knows whether the cell was interrupted.
func Connect(show func(Message) error, interrupted func() bool) {
	connection.Lock()
	defer connection.Unlock()
	connection.send, connection.interrupted = show, interrupted
}

func send(m Message) error {
	connection.Lock()
	show := connection.send
	connection.Unlock()
	if show == nil {
		return ErrNoNotebook
	}
	return show(m)
}
