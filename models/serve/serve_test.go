// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
)

var (
	classes       = []string{"a", "b", "c"}
	preprocessing = images.Preprocessing{Size: 16, Grey: true}
)

// handler returns a handler of a small net with random weights, and the net.
func handler(t testing.TB, o Options) (*Handler, *models.Model) {
	m, err := models.CNN(8, models.Options{Shape: [3]int{1, 16, 16}, Classes: 3, Widths: []int{4}, Seed: 1})
	require.NoError(t, err)
	p, err := m.Predictor()
	require.NoError(t, err)
	o.Classes = classes
	if o.Read == nil {
		o.Read = preprocessing.Read
	}
	h, err := New(p, o)
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, h.Close())
		assert.NoError(t, p.Close())
	})
	return h, m
}

// noise returns a PNG picture.
func noise(t testing.TB, seed uint64, width, height int) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	m := image.NewGray(image.Rect(0, 0, width, height))
	for i := range m.Pix {
		m.Pix[i] = uint8(rng.IntN(256))
	}
	m.SetGray(0, 0, color.Gray{})
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, m))
	return b.Bytes()
}

// wanted returns the answer that a picture should have.
func wanted(t testing.TB, m *models.Model, picture []byte) []float64 {
	p, err := m.Predictor()
	require.NoError(t, err)
	defer p.Close()
	x, err := preprocessing.Read(bytes.NewReader(picture), "")
	require.NoError(t, err)
	probabilities, err := p.Probabilities(x)
	require.NoError(t, err)
	return probabilities
}

func post(h http.Handler, kind string, body io.Reader) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "/", body)
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// form returns a form with fields, of which those with a name of a file are files.
func form(t testing.TB, fields ...[3]string) (kind string, body io.Reader) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, f := range fields {
		to, err := w.CreateFormField(f[0])
		if f[1] != "" {
			to, err = w.CreateFormFile(f[0], f[1])
		}
		require.NoError(t, err)
		_, err = io.WriteString(to, f[2])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return w.FormDataContentType(), &b
}

func TestAnswer(t *testing.T) {
	h, m := handler(t, Options{Top: 2})
	picture := noise(t, 1, 40, 30)
	want := wanted(t, m, picture)
	order := models.Top(want, 2)
	formKind, formBody := form(t, [3]string{"note", "", "text"}, [3]string{"picture", "x.png", string(picture)})
	for _, w := range []*httptest.ResponseRecorder{post(h, "", bytes.NewReader(picture)), post(h, "image/png", bytes.NewReader(picture)), post(h, formKind, formBody)} {
		require.Equal(t, 200, w.Code, w.Body)
		assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
		var a Answer
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &a))
		require.Len(t, a.Predictions, 2)
		for i, p := range a.Predictions {
			assert.Equal(t, classes[order[i]], p.Class)
			assert.InDelta(t, want[order[i]], p.Probability, 1e-6)
		}
	}
}

func TestStatus(t *testing.T) {
	h, _ := handler(t, Options{MaxBody: 20000, MaxPixels: 100 * 100, Title: "Birds <&>"})
	picture := noise(t, 1, 40, 30)
	noFile, noFileBody := form(t, [3]string{"picture", "", "text"})
	for name, test := range map[string]struct {
		kind   string
		body   io.Reader
		status int
		want   string
	}{
		"empty":         {"", strings.NewReader(""), 400, "want a picture as the body"},
		"text":          {"", strings.NewReader("text"), 415, "want a JPEG, PNG"},
		"damaged":       {"", bytes.NewReader(picture[:len(picture)/2]), 422, "want a PNG picture that is whole"},
		"body":          {"", bytes.NewReader(make([]byte, 20001)), 413, "too large"},
		"pixels":        {"", bytes.NewReader(noise(t, 1, 200, 60)), 413, "want at most 10000 pixels, got 200 x 60"},
		"no file":       {noFile, noFileBody, 400, "want a picture"},
		"no form":       {"multipart/form-data; boundary=x", strings.NewReader("text"), 400, "want a picture"},
		"no boundary":   {"multipart/form-data", bytes.NewReader(picture), 400, "want a picture"},
		"cut form":      {"multipart/form-data; boundary=x", strings.NewReader("--x\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\nab"), 400, "want a picture"},
		"cut chunk":     {"", httputil.NewChunkedReader(strings.NewReader("5\r\nab")), 400, "want a picture"},
		"no chunks":     {"", httputil.NewChunkedReader(strings.NewReader("text\r\n")), 400, "want a picture"},
		"unknown kind":  {"no kind at all;;", bytes.NewReader(picture), 200, "predictions"},
		"another kind":  {"text/html", bytes.NewReader(picture), 200, "predictions"},
		"whole picture": {"", bytes.NewReader(picture), 200, "predictions"},
	} {
		w := post(h, test.kind, test.body)
		assert.Equal(t, test.status, w.Code, name)
		assert.Contains(t, w.Body.String(), test.want, name)
		assert.True(t, json.Valid(w.Body.Bytes()), name)
	}
	for _, test := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"GET", "/", 200, "<title>Birds &lt;&amp;&gt;</title>"}, {"HEAD", "/", 200, ""}, {"GET", "/healthz", 200, "ok\n"},
		{"PUT", "/", 405, "want GET"}, {"POST", "/healthz", 405, "got POST"}, {"GET", "/page.html", 404, "want / or /healthz"}, {"GET", "//", 404, ""},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(test.method, "http://localhost"+test.path, nil))
		assert.Equal(t, test.status, w.Code, test)
		assert.Contains(t, w.Body.String(), test.want)
		assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	}
	require.NoError(t, h.Close())
	assert.Equal(t, 503, post(h, "", bytes.NewReader(picture)).Code)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil))
	assert.Equal(t, 503, w.Code)
}

func TestNewRefuses(t *testing.T) {
	_, m := handler(t, Options{})
	p, err := m.Predictor()
	require.NoError(t, err)
	defer p.Close()
	for _, none := range []*models.Predictor{nil, {}} {
		_, err := New(none, Options{Classes: classes, Read: preprocessing.Read})
		assert.ErrorContains(t, err, "serve: want a predictor")
	}
	for want, o := range map[string]Options{
		"serve: want a name for each of the 3 classes of the net, got 1":                    {Classes: classes[:1], Read: preprocessing.Read},
		"serve: want a function that reads pictures, got none":                              {Classes: classes},
		"serve: want limits that are positive, or 0 for their defaults, got a negative one": {Classes: classes, Read: preprocessing.Read, Queue: -1},
	} {
		_, err := New(p, o)
		assert.EqualError(t, err, want)
	}
}

// Pictures that arrive while the net computes are evaluated together, and each gets its own answer.
func TestBatches(t *testing.T) {
	begun, proceed := make(chan int, 100), make(chan struct{})
	h, m := handler(t, Options{observe: func(n int) {
		begun <- n
		<-proceed
	}})
	var wg sync.WaitGroup
	ask := func(seed uint64) {
		wg.Go(func() {
			picture := noise(t, seed, 20, 20)
			w := post(h, "", bytes.NewReader(picture))
			var a Answer
			if assert.NoError(t, json.Unmarshal(w.Body.Bytes(), &a)) && assert.Len(t, a.Predictions, 3) {
				want := wanted(t, m, picture)
				assert.InDelta(t, want[models.Top(want, 1)[0]], a.Predictions[0].Probability, 1e-6)
			}
		})
	}
	ask(1)
	assert.Equal(t, 1, <-begun)
	for seed := range uint64(13) {
		ask(seed + 2)
	}
	for len(h.slots) < 14 || len(h.decoders) > 0 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond) // until the last one waits
	close(proceed)
	wg.Wait()
	close(begun)
	var sizes []int
	for n := range begun {
		sizes = append(sizes, n)
	}
	assert.Equal(t, []int{8, 5}, sizes)
}

// Requests beyond the queue are told to come back, and those that wait too long are given up.
func TestBusy(t *testing.T) {
	begun, proceed := make(chan int, 100), make(chan struct{})
	h, _ := handler(t, Options{Queue: 2, Timeout: 50 * time.Millisecond, observe: func(n int) {
		begun <- n
		<-proceed
	}})
	picture := noise(t, 1, 20, 20)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			w := post(h, "", bytes.NewReader(picture))
			assert.Equal(t, 503, w.Code, "the net takes too long")
		})
	}
	<-begun
	for len(h.slots) < 2 {
		time.Sleep(time.Millisecond)
	}
	w := post(h, "", bytes.NewReader(picture))
	assert.Equal(t, 429, w.Code)
	assert.Equal(t, "1", w.Header().Get("Retry-After"))
	wg.Wait()
	close(proceed)
	assert.Equal(t, 200, post(h, "", bytes.NewReader(picture)).Code)
	assert.Len(t, begun, 1, "no one computes what no one waits for")
}

// A panic of the net is the error of the requests in the batch, and one of Options.Read that of its request.
func TestPanic(t *testing.T) {
	first := true
	h, _ := handler(t, Options{observe: func(int) {
		if first {
			first = false
			panic("operation")
		}
	}})
	picture := noise(t, 1, 20, 20)
	assert.Equal(t, 500, post(h, "", bytes.NewReader(picture)).Code)
	assert.Equal(t, 200, post(h, "", bytes.NewReader(picture)).Code)

	h, _ = handler(t, Options{Read: func(io.Reader, string) ([]float32, error) { panic("decoder") }})
	w := post(h, "", bytes.NewReader(picture))
	assert.Equal(t, 500, w.Code)
	assert.Contains(t, w.Body.String(), "serve: the function that reads pictures has panicked: decoder")
}

// A request whose time passes in the decoder, or while it waits for one, is answered, and the decoder keeps its place until it is done.
func TestDecoderTimeout(t *testing.T) {
	proceed := make(chan struct{})
	h, _ := handler(t, Options{Timeout: 50 * time.Millisecond, Read: func(r io.Reader, name string) ([]float32, error) {
		<-proceed
		return preprocessing.Read(r, name)
	}})
	picture := noise(t, 1, 20, 20)
	var wg sync.WaitGroup
	for range cap(h.decoders) + 1 {
		wg.Go(func() {
			w := post(h, "", bytes.NewReader(picture))
			assert.Equal(t, 503, w.Code)
			assert.Equal(t, "1", w.Header().Get("Retry-After"))
		})
	}
	wg.Wait()
	assert.Empty(t, h.slots)
	assert.Len(t, h.decoders, cap(h.decoders))
	close(proceed)
	require.Eventually(t, func() bool { return len(h.decoders) == 0 }, 5*time.Second, time.Millisecond)
	assert.Equal(t, 200, post(h, "", bytes.NewReader(picture)).Code)
	assert.Empty(t, h.large)
}

// Large pictures are unpacked one at a time, and others are answered meanwhile.
func TestLargePictures(t *testing.T) {
	begun, proceed := make(chan int, 100), make(chan struct{})
	h, _ := handler(t, Options{Read: func(r io.Reader, name string) ([]float32, error) {
		if b, err := io.ReadAll(r); err != nil || images.Large(b) {
			begun <- len(b)
			<-proceed
			return nil, images.ErrDamaged
		}
		return make([]float32, 16*16), nil
	}})
	const ihdr = "IHDR\x00\x00\x13\x88\x00\x00\x13\x88\x08\x02\x00\x00\x00" // 5000 x 5000 pixels of 4 bytes
	large := binary.BigEndian.AppendUint32([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"+ihdr), crc32.ChecksumIEEE([]byte(ihdr)))
	require.True(t, images.Large(large))
	var wg sync.WaitGroup
	for range cap(h.decoders) + 1 {
		wg.Go(func() { assert.Equal(t, 422, post(h, "", bytes.NewReader(large)).Code) })
	}
	<-begun
	for len(h.slots) < cap(h.decoders)+1 {
		time.Sleep(time.Millisecond)
	}
	assert.Equal(t, 200, post(h, "", bytes.NewReader(noise(t, 1, 20, 20))).Code)
	assert.Empty(t, begun)
	close(proceed)
	wg.Wait()
	assert.Len(t, begun, cap(h.decoders))
	require.Eventually(t, func() bool { return len(h.large)+len(h.decoders) == 0 }, 5*time.Second, time.Millisecond)
}

// brokenListener fails after its first connection.
type brokenListener struct {
	net.Listener
	accepted bool
}

func (l *brokenListener) Accept() (net.Conn, error) {
	if l.accepted {
		return nil, errors.New("broken")
	}
	l.accepted = true
	return l.Listener.Accept()
}

// Connections are closed when the listener fails.
func TestListenerFails(t *testing.T) {
	h, _ := handler(t, Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	assert.EqualError(t, Serve(t.Context(), &brokenListener{Listener: l}, h), "broken")
	require.NoError(t, c.SetReadDeadline(time.Now().Add(3*time.Second)))
	_, err = c.Read(make([]byte, 1))
	assert.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

// server serves on a port of its own until the test, or stop, ends it.
func server(t testing.TB, h *Handler) (address string, stop func() error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, l, h) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { assert.NoError(t, stop()) })
	return l.Addr().String(), stop
}

// Requests under way are answered before the server ends; others are not accepted any more.
func TestShutdown(t *testing.T) {
	begun, proceed := make(chan int, 100), make(chan struct{})
	h, _ := handler(t, Options{observe: func(n int) {
		begun <- n
		<-proceed
	}})
	address, stop := server(t, h)
	picture := noise(t, 1, 20, 20)
	status := make(chan int)
	go func() {
		r, err := http.Post("http://"+address, "", bytes.NewReader(picture))
		if assert.NoError(t, err) {
			r.Body.Close()
			status <- r.StatusCode
		}
		close(status)
	}()
	<-begun
	ended := make(chan error)
	go func() { ended <- stop() }()
	refused := func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err != nil
	}
	require.Eventually(t, refused, 5*time.Second, time.Millisecond)
	select {
	case <-ended:
		t.Fatal("want the server to wait for the request under way")
	default:
	}
	close(proceed)
	assert.Equal(t, 200, <-status)
	assert.NoError(t, <-ended)
}

// Clients that send a header or a picture slowly lose their connection, and others are answered meanwhile.
func TestSlowClients(t *testing.T) {
	h, _ := handler(t, Options{Timeout: 300 * time.Millisecond})
	address, _ := server(t, h)
	picture := noise(t, 1, 20, 20)
	var wg sync.WaitGroup
	stalled := "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000\r\n\r\n" +
		"--x\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\nab\r\n--x\r\nabc" // after its file
	for _, text := range []string{
		"POST / HT", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc", stalled, "", "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 1<<20),
	} {
		wg.Go(func() {
			c, err := net.Dial("tcp", address)
			if !assert.NoError(t, err) {
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, text) // the server may close before it has read all
			assert.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
			begin := time.Now()
			b, err := io.ReadAll(c)
			if err != nil {
				assert.NotErrorIs(t, err, os.ErrDeadlineExceeded)
			}
			assert.Less(t, time.Since(begin), 5*time.Second)
			if strings.HasSuffix(text, "abc") {
				assert.Contains(t, string(b), "408 Request Timeout")
			}
		})
	}
	r, err := http.Post("http://"+address, "image/png", bytes.NewReader(picture))
	require.NoError(t, err)
	r.Body.Close()
	assert.Equal(t, 200, r.StatusCode)
	wg.Wait()
}

// Load: pictures and junk from many clients at the same time. Each is answered, and memory stays bounded. KERNELFOLD_LOAD is the number of requests:
// make load.
func TestLoad(t *testing.T) {
	requests := 300
	if n, err := strconv.Atoi(os.Getenv("KERNELFOLD_LOAD")); err == nil {
		requests = n
	}
	h, m := handler(t, Options{Queue: 16, MaxBody: 1 << 20})
	address, _ := server(t, h)
	bodies := [][]byte{noise(t, 1, 64, 64), noise(t, 2, 300, 200), []byte("junk"), noise(t, 3, 64, 64)[:2000], make([]byte, 2<<20)}
	allowed := []string{"200 429", "200 429", "415 429", "422 429", "413 429"}
	want := wanted(t, m, bodies[0])
	best := models.Top(want, 1)[0]
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	var next, broken atomic.Int64
	var counts sync.Map
	var peak atomic.Uint64
	measure := func() {
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		if s.HeapInuse > peak.Load() {
			peak.Store(s.HeapInuse)
		}
	}
	runtime.GC()
	measure()
	before := peak.Load()
	begin := time.Now()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(requests); i = next.Add(1) {
				k := int(i) % len(bodies)
				r, err := client.Post("http://"+address, "", bytes.NewReader(bodies[k]))
				if err != nil { // the server closes a connection whose body it does not read to the end
					if k != 4 {
						assert.NoError(t, err)
					}
					broken.Add(1)
					continue
				}
				b, err := io.ReadAll(r.Body)
				r.Body.Close()
				assert.NoError(t, err)
				assert.Contains(t, allowed[k], fmt.Sprint(r.StatusCode), "%d: %s", k, b)
				if k == 0 && r.StatusCode == 200 {
					assert.Contains(t, string(b), fmt.Sprintf(`[{"class":"%s"`, classes[best]))
				}
				n, _ := counts.LoadOrStore(r.StatusCode, new(atomic.Int64))
				n.(*atomic.Int64).Add(1)
				if i%100 == 0 {
					measure()
				}
			}
		})
	}
	wg.Wait()
	answered := 0
	for _, status := range []int{200, 413, 415, 422, 429} {
		if n, ok := counts.Load(status); ok {
			answered += int(n.(*atomic.Int64).Load())
			t.Logf("status %d: %d", status, n.(*atomic.Int64).Load())
		}
	}
	t.Logf("%d requests in %v, heap of %.1f MiB before and %.1f MiB at most", requests, time.Since(begin).Round(time.Millisecond), float64(before)/(1<<20), float64(peak.Load())/(1<<20))
	assert.Equal(t, requests, answered+int(broken.Load()))
	// 16 requests under way with bodies of 1 MiB, as much again of buffers that grow and of what the client holds, and garbage.
	assert.Less(t, peak.Load(), before+200<<20)
}

// A listener without a free slot can be closed.
func TestLimitedCloses(t *testing.T) {
	of, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := limit(of, 0)
	ended := make(chan error)
	go func() {
		_, err := l.Accept()
		ended <- err
	}()
	require.NoError(t, l.Close())
	assert.ErrorIs(t, <-ended, net.ErrClosed)
}
