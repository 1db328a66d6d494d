// SPDX-License-Identifier: Apache-2.0

//go:build kernel

// Serve is the Jupyter kernel of the notebooks. Jupyter starts it with the name of a connection file.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime"

	"github.com/kernelfold/kernelfold/examples/notebooks/display"
	"github.com/kernelfold/kernelfold/examples/notebooks/kernel/bindings"
	"github.com/kernelfold/kernelfold/examples/notebooks/kernel/docs"
	"github.com/kernelfold/kernelfold/examples/notebooks/kernel/interp"
	"github.com/kernelfold/kernelfold/examples/notebooks/kernel/jupyter"
)

func main() {
	flag.Usage = func() { fmt.Fprintln(os.Stderr, "usage: kernelfold CONNECTION-FILE") }
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := serve(flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "kernelfold:", err)
		os.Exit(1)
	}
}

func serve(file string) error {
	connection, err := jupyter.ReadConnection(file)
	if err != nil {
		return err
	}
	documentation, err := docs.Read(bindings.Docs)
	if err != nil {
		return err
	}
	cells := interp.New(documentation)
	info := jupyter.Info{
		Name: "kernelfold", Version: "1", Banner: "Go, interpreted by gomacro, with Kernelfold and Gorgonia",
		Language: jupyter.Language{Name: "go", Version: runtime.Version(), MIMEType: "text/x-go", Extension: ".go"},
	}
	server, err := jupyter.Listen(context.Background(), connection, info, &notifying{cells})
	if err != nil {
		return err
	}
	display.Connect(server.Show, cells.Interrupted)

	// Also when it was started in the background, where the signal is ignored at first.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt)
	go func() {
		for range signals {
			cells.Interrupt()
		}
	}()

	out, err := jupyter.NewOutput(func(text string) { server.Stream("stdout", text) })
	if err != nil {
		return err
	}
	errs, err := jupyter.NewOutput(func(text string) { server.Stream("stderr", text) })
	if err != nil {
		return err
	}
	os.Stdout, os.Stderr = out.File, errs.File
	log.SetOutput(errs.File)
	server.BeforeReply = func() {
		out.Flush()
		errs.Flush()
	}
	return server.Serve()
}

// notifying is an interpreter whose Interrupt is the signal that programs know, so that a cell may wait for it by
// signal.NotifyContext.
type notifying struct{ *interp.Interp }

// Interrupt sends the signal to this process, where there is such a thing.
func (n *notifying) Interrupt() {
	if p, err := os.FindProcess(os.Getpid()); err != nil || p.Signal(os.Interrupt) != nil {
		n.Interp.Interrupt()
	}
}
