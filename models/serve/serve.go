// SPDX-License-Identifier: Apache-2.0

// Package serve answers requests for the class of a picture over HTTP:
//
//	h, err := serve.New(predictor, serve.Options{Classes: classes, Read: preprocessing.Read})
//	l, err := net.Listen("tcp", "127.0.0.1:8080")
//	err = serve.Serve(ctx, l, h) // until ctx ends, and then until the requests under way are answered
//
// A picture is sent in a POST request to /, as its body or as a file in a form (multipart/form-data), and the answer
// contains the most probable classes:
//
//	$ curl --data-binary @cat.jpg http://127.0.0.1:8080/
//	{"predictions":[{"class":"cat","probability":0.97},{"class":"dog","probability":0.02}]}
//
// An error is an object with the key "error". Its status is 400 for a malformed request or one without a picture, 408 for a picture that
// does not arrive within Options.Timeout, 413 for one that is too large, 415 for a file that is not a picture, 422 for
// a damaged picture, 429 with Retry-After if more requests are in progress than Options.Queue, and 503 if the answer
// takes longer than Options.Timeout, whether in a queue, in the decoder or in the net, or the server ends. A GET of / returns a page with a field for pictures, which
// loads nothing from other servers, and /healthz answers "ok" as long as pictures are accepted.
//
// Pictures that arrive while the net computes are evaluated together, in one batch of the predictor, so a server under load computes as
// efficiently as a program that has all pictures at once, and one without load answers at once.
//
// As many pictures are unpacked at the same time as there are cores, two at least, and of those that take more than 64 MiB (images.Large) only one, so
// that they leave room for the others. A decoder cannot be stopped: one that takes longer than Options.Timeout keeps its place until it is done. Its work
// is limited by MaxPixels and by package images. The memory for requests is at most about (Queue + cores) x MaxBody, and that of the unpacked pictures.
package serve

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"image"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"runtime"
	"time"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
)

// Options are the options of New.
type Options struct {
	// Classes are the names of the logits of the net.
	Classes []string
	// Read turns a picture into an example of the net, as Preprocessing.Read and Set.ReadImage of package images do. It is called from
	// several goroutines.
	Read func(r io.Reader, name string) ([]float32, error)
	// Top is how many classes an answer has: 5 by default.
	Top int
	// Title is that of the page: "Classify a picture" by default.
	Title string

	// MaxBody is the size of the largest request in bytes, 16 MiB by default, and MaxPixels the largest number of pixels of a picture, 2^25 by default.
	MaxBody   int64
	MaxPixels int64
	// Queue is the number of requests with pictures that are under way at the same time: 64, or twice the batch of the predictor if that is more, by
	// default.
	Queue int
	// Timeout is the time within which a picture must arrive, and again the time within which it is answered: 15 seconds by default.
	Timeout time.Duration

	observe func(examples int) // for tests: is called before each evaluation
}

// Handler is the http.Handler of a predictor. Close it after use, and the predictor after that.
type Handler struct {
	o        Options
	page     []byte
	batches  *batches
	slots    chan struct{} // one for each request under way
	decoders chan struct{} // one for each picture that is unpacked
	large    chan struct{} // one for the large picture that is unpacked
}

var _ http.Handler = (*Handler)(nil)

//go:embed page.html
var pageSource string

var pageTemplate = template.Must(template.New("page").Parse(pageSource))

// New returns a handler for a net with one input and logits. The predictor must not be used by others until the handler is closed.
func New(p *models.Predictor, o Options) (*Handler, error) {
	if p == nil || p.Net() == nil {
		return nil, errors.New("serve: want a predictor made by the method Predictor of a net, got nil or the zero Predictor")
	}
	switch n := p.Net(); {
	case len(n.Inputs) != 1 || len(n.Outputs) == 0 || n.Outputs[0].Dims() != 2:
		return nil, errors.New("serve: want a net with one input and, as its first output, logits of shape (batch, classes)")
	case n.Outputs[0].Shape()[1] != len(o.Classes):
		return nil, fmt.Errorf("serve: want a name for each of the %d classes of the net, got %d", n.Outputs[0].Shape()[1], len(o.Classes))
	case o.Read == nil:
		return nil, errors.New("serve: want a function that reads pictures, got none")
	case o.Top < 0 || o.MaxBody < 0 || o.MaxPixels < 0 || o.Queue < 0 || o.Timeout < 0:
		return nil, errors.New("serve: want limits that are positive, or 0 for their defaults, got a negative one")
	}
	o.Top, o.Queue = cmp.Or(o.Top, 5), cmp.Or(o.Queue, max(64, 2*p.Net().Batch()))
	o.Title = cmp.Or(o.Title, "Classify a picture")
	o.MaxBody, o.MaxPixels = cmp.Or(o.MaxBody, 16<<20), cmp.Or(o.MaxPixels, 1<<25)
	o.Timeout = cmp.Or(o.Timeout, 15*time.Second)
	var page bytes.Buffer
	if err := pageTemplate.Execute(&page, o); err != nil {
		return nil, fmt.Errorf("serve: %w", err)
	}
	return &Handler{
		o: o, page: page.Bytes(), batches: newBatches(p, o.observe),
		slots: make(chan struct{}, o.Queue), decoders: make(chan struct{}, max(2, runtime.GOMAXPROCS(0))), large: make(chan struct{}, 1),
	}, nil
}

// Close waits for the pictures that are being evaluated. Pictures that still wait, and later requests, are answered
// with status 503. It can be called more than once.
func (h *Handler) Close() error {
	h.batches.close()
	return nil
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case r.URL.Path == "/" && r.Method == http.MethodPost:
		h.classify(w, r)
	case r.URL.Path == "/" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src blob: data:; connect-src 'self'; frame-ancestors 'none'")
		_, _ = w.Write(h.page) // there is no one left to tell
	case r.URL.Path == "/healthz" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		if h.batches.closed() {
			h.fail(w, errClosed)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "ok\n")
	case r.URL.Path == "/" || r.URL.Path == "/healthz":
		w.Header().Set("Allow", map[string]string{"/": "GET, HEAD, POST", "/healthz": "GET, HEAD"}[r.URL.Path])
		answer(w, http.StatusMethodNotAllowed, failure{"want GET, or POST of a picture to /, got " + r.Method})
	default:
		answer(w, http.StatusNotFound, failure{"want / or /healthz"})
	}
}

// Prediction is a class and its probability.
type Prediction struct {
	Class       string  `json:"class"`
	Probability float64 `json:"probability"`
}

// Predictions returns the most probable classes, the most probable first.
func Predictions(probabilities []float64, classes []string, top int) []Prediction {
	var all []Prediction
	for _, k := range models.Top(probabilities, top) {
		all = append(all, Prediction{classes[k], probabilities[k]})
	}
	return all
}

// Answer is the answer to a picture: the most probable classes, the most probable first.
type Answer struct {
	Predictions []Prediction `json:"predictions"`
}

type failure struct {
	Error string `json:"error"`
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // there is no one left to tell
}

// Errors of a request, besides those of a picture.
var (
	errBusy   = errors.New("too many requests; try again later")
	errClosed = errors.New("the server ends")
	errBody   = errors.New("want a picture as the body, or as a file of a form")
)

// classify answers a request with a picture.
func (h *Handler) classify(w http.ResponseWriter, r *http.Request) {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		h.fail(w, errBusy)
		return
	}
	body, err := h.body(w, r)
	if err != nil {
		h.fail(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.o.Timeout)
	defer cancel()
	x, err := h.example(ctx, body)
	body = nil // memory that a request in the queue does not need
	if err != nil {
		h.fail(w, err)
		return
	}
	p, err := h.batches.predict(ctx, x)
	if err != nil {
		h.fail(w, err)
		return
	}
	answer(w, http.StatusOK, Answer{Predictions(p, h.o.Classes, h.o.Top)})
}

// body returns the bytes of the picture in a request.
func (h *Handler) body(w http.ResponseWriter, r *http.Request) (b []byte, err error) {
	// A client that sends slowly would hold its place for as long as it likes. Once the picture is there, there is no deadline: one that
	// passes would end the context of the request. Not every ResponseWriter has deadlines.
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Now().Add(h.o.Timeout))
	defer func() {
		if err == nil {
			_ = c.SetReadDeadline(time.Time{})
		}
	}()
	r.Body = http.MaxBytesReader(w, r.Body, h.o.MaxBody)
	kind, parameters, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // "" is a picture
	if kind != "multipart/form-data" {
		b, err = io.ReadAll(r.Body)
		if err != nil {
			return nil, wrapBody(err)
		}
		if len(b) == 0 {
			return nil, errBody
		}
		return b, nil
	}
	form := multipart.NewReader(r.Body, parameters["boundary"])
	for {
		part, err := form.NextPart()
		if err == io.EOF {
			return nil, errBody
		}
		if err != nil {
			return nil, wrapBody(err)
		}
		if part.FileName() == "" {
			continue // another field
		}
		// The rest of the form is read too, within the same time: net/http would read it after the answer, when there is no deadline.
		if b, err = io.ReadAll(part); err == nil {
			_, err = io.Copy(io.Discard, r.Body)
		}
		if err != nil {
			return nil, wrapBody(err)
		}
		return b, nil
	}
}

// wrapBody wraps the error of a malformed body or form in errBody, and returns those of one that is too large or too late unchanged.
func wrapBody(err error) error {
	if errors.As(err, new(*http.MaxBytesError)) || isTimeout(err) {
		return err
	}
	return fmt.Errorf("%w: %w", errBody, err)
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// example unpacks a picture. If ctx ends before that, the decoder goes on, and has its place until it is done.
func (h *Handler) example(ctx context.Context, body []byte) ([]float32, error) {
	if width, height := size(body); width*height > h.o.MaxPixels {
		return nil, fmt.Errorf("%w: want at most %d pixels, got %d x %d", images.ErrTooLarge, h.o.MaxPixels, width, height)
	}
	free, err := h.place(ctx, images.Large(body))
	if err != nil {
		return nil, err
	}
	type picture struct {
		x   []float32
		err error
	}
	done := make(chan picture, 1)
	go func() {
		defer free()
		x, err := recovered("the function that reads pictures", func() ([]float32, error) { return h.o.Read(bytes.NewReader(body), "picture") })
		done <- picture{x, err}
	}()
	var p picture
	select {
	case p = <-done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if p.err != nil {
		return nil, p.err
	}
	shape := h.batches.p.Net().Inputs[0].Shape()
	if want := shape.TotalSize() / shape[0]; len(p.x) != want {
		return nil, fmt.Errorf("serve: want pictures of %v, %d numbers, got %d", []int(shape[1:]), want, len(p.x))
	}
	return p.x, nil
}

// place waits for a place among the pictures that are unpacked. A large one that waits for another keeps no place.
func (h *Handler) place(ctx context.Context, large bool) (free func(), err error) {
	queues := []chan struct{}{h.decoders}
	if large {
		queues = []chan struct{}{h.large, h.decoders}
	}
	taken := 0
	free = func() {
		for _, q := range queues[:taken] {
			<-q
		}
	}
	for _, q := range queues {
		select {
		case q <- struct{}{}:
			taken++
		case <-ctx.Done():
			free()
			return nil, ctx.Err()
		}
	}
	return free, nil
}

// size returns the size of a picture, or zeros if body is not a picture.
func size(body []byte) (width, height int64) {
	defer func() { _ = recover() }() // a decoder that panics has met a damaged picture, which is found when it is read
	head, _, err := image.DecodeConfig(bytes.NewReader(body))
	if err != nil {
		return 0, 0
	}
	return int64(head.Width), int64(head.Height)
}

// fail answers with an error.
func (h *Handler) fail(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	text := err.Error()
	picture := (*images.PictureError)(nil)
	if errors.As(err, &picture) {
		text = picture.Err.Error()
	}
	switch {
	case errors.Is(err, errBusy):
		status = http.StatusTooManyRequests
		w.Header().Set("Retry-After", "1")
	case errors.Is(err, errClosed), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	case isTimeout(err):
		status, text = http.StatusRequestTimeout, fmt.Sprintf("want the picture within %v", h.o.Timeout)
	case errors.As(err, new(*http.MaxBytesError)), errors.Is(err, images.ErrTooLarge):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, images.ErrFormat):
		status = http.StatusUnsupportedMediaType
	case errors.Is(err, images.ErrDamaged):
		status = http.StatusUnprocessableEntity
	case errors.Is(err, errBody), errors.Is(err, io.ErrUnexpectedEOF):
		status = http.StatusBadRequest
	}
	answer(w, status, failure{text})
}
