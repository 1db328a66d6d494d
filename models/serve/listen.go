// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// maxConnections is how many connections are open at the same time; others wait to be accepted.
const maxConnections = 1024

// Serve answers requests to a listener, which it closes, until ctx ends. Then it accepts no more connections, answers the requests under way, closes
// the handler and returns nil, or an error if that took more than twice the time of Options.Timeout. Clients that are slow to send a request, or to
// read its answer, lose their connection.
func Serve(ctx context.Context, l net.Listener, h *Handler) error {
	t := h.o.Timeout
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: min(t, 10*time.Second),
		ReadTimeout:       2 * t,
		WriteTimeout:      4 * t, // from the end of the header: until the picture is there, until it is answered, and until that is read
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(limit(l, maxConnections)) }()
	var err error
	select {
	case err = <-ended: // the listener has failed
	case <-ctx.Done():
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*t)
		err = s.Shutdown(within)
		cancel()
		<-ended
	}
	return errors.Join(err, s.Close(), h.Close()) // Close closes connections that are open
}

// limited accepts as many connections at the same time as there are slots.
type limited struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func limit(l net.Listener, connections int) *limited {
	return &limited{Listener: l, slots: make(chan struct{}, connections), closed: make(chan struct{})}
}

// Accept fails when the listener is closed, also while it waits for a slot: http.Server.Shutdown waits for it before anything else.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, free: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	free func()
}

func (c *limitedConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}
