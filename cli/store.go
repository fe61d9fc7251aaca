package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/lockstep-vm/lockstep/arbiter"
	"github.com/lockstep-vm/lockstep/storage/nbd"
	"github.com/lockstep-vm/lockstep/storage/store"
)

type storeCommand struct {
	Serve   storeServeCommand   `cmd:"" default:"withargs" help:"Serve files as disks until stopped."`
	Release storeReleaseCommand `cmd:"" help:"Give up the claim of an export whose VM is gone for good."`
}

type storeServeCommand struct {
	Listen         []string `required:"" placeholder:"ADDRESS" help:"Where clients connect: HOST:PORT or unix:PATH."`
	Export         []string `placeholder:"NAME=FILE" help:"Serve a raw image or block device under a name."`
	ExportReadOnly []string `placeholder:"NAME=FILE" help:"The same, for reading only."`
	State          string   `placeholder:"DIR" help:"Where the exports' fence records go (default: beside each file)."`
	Arbiter        string   `placeholder:"DIR" help:"Keep an arbiter's cells in this directory, for specs that say arbiter: store:HOST:PORT."`
	Insecure       bool     `help:"Allow addresses beyond loopback although NBD is neither encrypted nor authenticated. Only on a network that you trust."`
}

func (c *storeServeCommand) Run(ctx context.Context, env Env) error {
	say := lineWriter{env.Stderr}.say
	cfg := store.Config{Listen: c.Listen, Insecure: c.Insecure, State: c.State, Note: func(text string) { say("%s", text) }}
	for _, list := range []struct {
		texts    []string
		readOnly bool
	}{{c.Export, false}, {c.ExportReadOnly, true}} {
		for _, text := range list.texts {
			name, file, ok := strings.Cut(text, "=")
			if !ok || name == "" || file == "" {
				return refused(fmt.Errorf("--export %q: write NAME=FILE", text))
			}
			cfg.Exports = append(cfg.Exports, store.Export{Name: name, File: file, ReadOnly: list.readOnly})
		}
	}
	if c.Arbiter != "" {
		path, err := filepath.Abs(c.Arbiter)
		if err != nil {
			return refused(err)
		}
		dir, err := arbiter.OpenDir(path)
		if err != nil {
			return refused(err)
		}
		cfg.Cells = dir
		if ok, why := dir.Durable(); !ok {
			say("the arbiter at %s is not durable: %s", path, why)
		}
	}
	s, err := store.Start(cfg)
	if err != nil {
		return refused(err)
	}
	for _, a := range s.Addresses() {
		say("store at %s", a)
	}
	for _, e := range cfg.Exports {
		say("export %s: %s at %s", e.Name, e.File, s.URL(e.Name))
	}
	<-ctx.Done()
	return s.Close()
}

type storeReleaseCommand struct {
	URL string `arg:"" placeholder:"URL" help:"nbd://HOST:PORT/NAME or nbd+unix:///NAME?socket=PATH."`
	VM  string `required:"" name:"vm" placeholder:"NAME" help:"The VM that holds it. You have made sure that it runs nowhere and never will again with this disk."`
}

func (c *storeReleaseCommand) Run(ctx context.Context, env Env) error {
	a, err := nbd.ParseURL(c.URL)
	if err != nil {
		return refused(err)
	}
	if err := nbd.GiveUp(ctx, a, c.VM); err != nil {
		return refused(err)
	}
	fmt.Fprintf(env.Stdout, "%s is released: VM %s holds it no more\n", a, c.VM)
	return nil
}
