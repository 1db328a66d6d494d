// SPDX-License-Identifier: Apache-2.0

package display

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/png"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type table struct{}

func (table) String() string { return "a table" }
func (table) HTML() string   { return "<table></table>" }

type drawing struct{}

func (drawing) SVG() string      { return "<svg/>" }
func (drawing) Markdown() string { return "**d**" }
func (drawing) Latex() string    { return "$d$" }
func (drawing) PNG() []byte      { return []byte("png") }
func (drawing) JPEG() []byte     { return []byte("jpeg") }

func TestOf(t *testing.T) {
	assert.Equal(t, Data{"text/plain": "3"}, Of(3))
	assert.Equal(t, Data{"text/plain": "a table", "text/html": "<table></table>"}, Of(table{}))
	assert.Equal(t, Data{
		"text/plain": "{}", "image/svg+xml": "<svg/>", "text/markdown": "**d**", "text/latex": "$d$",
		"image/png": []byte("png"), "image/jpeg": []byte("jpeg"),
	}, Of(drawing{}))
	assert.Equal(t, HTML("<b>x</b>"), Of(HTML("<b>x</b>")))

	d := Of(image.NewGray(image.Rect(0, 0, 3, 2)))
	assert.Equal(t, "picture of 3 x 2", d["text/plain"])
	p, err := png.Decode(bytes.NewReader(d["image/png"].([]byte)))
	require.NoError(t, err)
	assert.Equal(t, image.Rect(0, 0, 3, 2), p.Bounds())

	assert.Contains(t, Of(image.NewGray(image.Rect(0, 0, 0, 0)))["text/plain"], "png: invalid", "a picture of no size has no PNG")
}

func TestShow(t *testing.T) {
	assert.ErrorIs(t, Show(1), ErrNoNotebook)
	assert.ErrorIs(t, New().Show(1), ErrNoNotebook)
	assert.NoError(t, Interrupted())

	var got []Message
	fails, stopped := errors.New("closed"), false
	var failure error
	Connect(func(m Message) error { got = append(got, m); return failure }, func() bool { return stopped })
	defer Connect(nil, nil)
	require.NoError(t, Show("a"))
	a, b := New(), New()
	failure = fails
	assert.ErrorIs(t, a.Show(0), fails)
	failure = nil
	for i := range 2 {
		require.NoError(t, a.Show(i))
		require.NoError(t, b.Show(i))
	}
	var calls []string
	for _, m := range got {
		calls = append(calls, fmt.Sprintln(m.Data["text/plain"], m.ID == a.id, m.ID == b.id, m.Update))
	}
	assert.Equal(t, []string{
		"a false false false\n", "0 true false false\n", // the latter failed
		"0 true false false\n", "0 false true false\n", "1 true false true\n", "1 false true true\n",
	}, calls)
	stopped = true
	assert.ErrorIs(t, Interrupted(), ErrInterrupted)
}
