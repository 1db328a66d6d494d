// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/models/serve"
)

// serveHTTP answers requests until the context ends.
func (c *command) serveHTTP(ctx context.Context, stdout io.Writer) error {
	host, port, err := net.SplitHostPort(c.serve)
	if err != nil {
		return cli.Usage("-serve: want an address such as :8080 or 192.0.2.1:8080, got %q", c.serve)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	const batch = 16
	p, r, err := c.predictor(batch)
	if err != nil {
		return err
	}
	defer p.Close()
	h, err := serve.New(p, serve.Options{Classes: r.Classes, Read: r.read, Top: c.top, Title: r.Name + ", " + r.Settings.Model})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return fmt.Errorf("-serve: %w", err)
	}
	fmt.Fprintf(stdout, "classifies pictures at http://%s/ until Ctrl-C\n", l.Addr())
	return serve.Serve(ctx, l, h)
}
