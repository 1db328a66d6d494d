// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/serve"
)

// A net, its server, and a client that sends a picture. A program calls serve.Serve instead of httptest.NewServer, with
// a listener on its own address.
func Example() {
	m, err := models.CNN(8, models.Options{Shape: [3]int{3, 32, 32}, Classes: 3, Seed: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := m.Predictor()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	h, err := serve.New(p, serve.Options{Classes: []string{"cat", "dog", "bird"}, Read: images.Preprocessing{Size: 32}.Read})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer h.Close()
	server := httptest.NewServer(h)
	defer server.Close()

	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, 64, 48))); err != nil {
		fmt.Println(err)
		return
	}
	for _, body := range []io.Reader{&picture, bytes.NewBufferString("a text")} {
		r, err := http.Post(server.URL, "", body)
		if err != nil {
			fmt.Println(err)
			return
		}
		answer, err := io.ReadAll(r.Body)
		if err != nil {
			fmt.Println(err)
			return
		}
		r.Body.Close()
		fmt.Println(r.StatusCode, bytes.Contains(answer, []byte(`{"predictions":[{"class":`)), bytes.Contains(answer, []byte("got a text")))
	}
	// Output:
	// 200 true false
	// 415 false true
}
