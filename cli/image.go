package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/lockstep-vm/lockstep/image"
)

type imageCommand struct {
	Build imageBuild `cmd:"" help:"Fetch Debian packages and build the guest anew."`
	Show  imageShow  `cmd:"" help:"Show what the built guest is made of."`
}

type imageBuild struct {
	Name   string `arg:"" optional:"" default:"demo" help:"Which image: demo, small, stress, node or bench."`
	Mirror string `placeholder:"URL" help:"Debian mirror to fetch from; else LOCKSTEP_MIRROR, else those of this machine's apt configuration."`
}

type imageShow struct {
	Name string `arg:"" optional:"" default:"demo" help:"Which image: demo, small, stress, node or bench."`
	JSON bool   `help:"Print JSON."`
}

func (c *imageBuild) Run(ctx context.Context, env Env) error {
	img, err := image.Build(ctx, image.Options{Name: c.Name, Mirror: c.Mirror, Progress: progress(env)})
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "%s: kernel %s, %d packages, in %s\n", img.Name, img.KernelVersion, len(img.Packages), img.Dir)
	return nil
}

func (c *imageShow) Run(env Env) error {
	img, err := image.Load("", c.Name)
	if errors.Is(err, image.ErrNotBuilt) {
		return fmt.Errorf("%w; run: lockstep image build", err)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		e := json.NewEncoder(env.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(img)
	}
	fmt.Fprintf(env.Stdout, "name     %s\nkernel   %s\n         %s\ninitrd   %s\ncmdline  %s\nsha256   %s\n",
		img.Name, img.KernelVersion, img.Kernel, img.Initrd, img.Cmdline, img.SHA256)
	if img.IndexSHA256 != "" {
		fmt.Fprintf(env.Stdout, "index    %s\n         no signature covers this package index: see docs/images.md\n", img.IndexSHA256)
	}
	for _, p := range img.Packages {
		fmt.Fprintf(env.Stdout, "package  %s %s\n", p.Name, p.Version)
	}
	return nil
}

// progress shows the stages of a build: bytes as bars on a terminal, the rest as
// lines.
func progress(env Env) func(image.Event) {
	f, ok := env.Stderr.(*os.File)
	bars := ok && term.IsTerminal(int(f.Fd()))
	var bar *progressbar.ProgressBar
	var stage image.Stage
	return func(e image.Event) {
		if e.Stage != stage {
			if bar != nil {
				_ = bar.Finish()
			}
			stage, bar = e.Stage, nil
			if e.Total <= 1 || !bars {
				fmt.Fprintf(env.Stderr, "%-9s %s\n", e.Stage, e.Note)
				return
			}
		}
		if e.Total <= 1 || !bars {
			return
		}
		if bar == nil {
			bar = progressbar.NewOptions64(e.Total,
				progressbar.OptionSetWriter(env.Stderr),
				progressbar.OptionSetDescription(fmt.Sprintf("%-9s", e.Stage)),
				progressbar.OptionShowBytes(true),
				progressbar.OptionSetWidth(30),
				progressbar.OptionThrottle(100*time.Millisecond),
				progressbar.OptionOnCompletion(func() { fmt.Fprintln(env.Stderr) }),
			)
		}
		bar.ChangeMax64(e.Total)
		_ = bar.Set64(e.Done)
	}
}
