package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/lockstep-vm/lockstep/storage/format"
)

type diskCommand struct {
	Create  diskCreate  `cmd:"" help:"Make a thin raw image that reads as zeros."`
	Info    diskInfo    `cmd:"" help:"Say what an image is and how much space it takes."`
	Check   diskCheck   `cmd:"" help:"Look whether an image is whole: its size, and the tables of a qcow2 one."`
	Convert diskConvert `cmd:"" help:"Copy a disk from one image to another one: qcow2 to raw, raw to qcow2, or thick to thin."`
}

// byteSize is a size on the command line, like 10G.
type byteSize int64

func (s *byteSize) UnmarshalText(text []byte) error {
	n, err := format.ParseSize(string(text))
	*s = byteSize(n)
	return err
}

// diskKind is a format on the command line.
type diskKind struct{ format.Kind }

func (k *diskKind) UnmarshalText(text []byte) error {
	var err error
	k.Kind, err = format.ParseKind(string(text))
	return err
}

type diskCreate struct {
	Path      string   `arg:"" type:"path" help:"The image to make. A file of that name is left alone."`
	Size      byteSize `arg:"" help:"Size of the disk, like 512M, 10G or 2T: a multiple of 4K."`
	BlockSize uint32   `default:"4096" enum:"512,4096" help:"Smallest unit of access that the disk is for; SIZE must be a multiple of it. With 512, the disk cannot be given to a VM with blocks of 4096."`
}

func (c *diskCreate) Run(env Env) error {
	r, err := format.Create(c.Path, format.CreateOptions{Size: int64(c.Size), BlockSize: c.BlockSize})
	if err != nil {
		return err
	}
	warn(env, r.Warnings)
	fmt.Fprintf(env.Stdout, "%s: raw, %s, of which %s take space\n", c.Path, bytesOf(r.Size), bytesOf(r.Allocated))
	return nil
}

type diskInfo struct {
	Path   string   `arg:"" type:"path" help:"An image."`
	Format diskKind `default:"auto" placeholder:"FORMAT" help:"What it is: raw, qcow2, or auto: by its name and first bytes, if they agree."`
	JSON   bool     `name:"json" help:"Print JSON."`
}

func (c *diskInfo) Run(env Env) error {
	i, err := format.Stat(c.Path, c.Format.Kind)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(env.Stdout, i)
	}
	return printInfo(env.Stdout, i)
}

func printJSON(w io.Writer, v any) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(v)
}

func printInfo(w io.Writer, i *format.Info) error {
	lines := bufio.NewWriter(w)
	row := func(name, what string, args ...any) {
		fmt.Fprintf(lines, "%-14s "+what+"\n", append([]any{name}, args...)...)
	}
	thin := "no holes"
	if i.Sparse {
		thin = "sparse"
	}
	row("image", "%s", i.Path)
	row("format", "%s", i.Format)
	row("disk", "%s", bytesOf(i.Size))
	row("file", "%s, of which %s take space: %s", bytesOf(i.FileSize), bytesOf(i.Allocated), thin)
	if q := i.QCOW2; q != nil {
		row("version", "%d", q.Version)
		row("clusters", "%s, compressed ones with %s", bytesOf(q.ClusterSize), q.Compression)
		if q.Backing != "" {
			kind := q.BackingFormat
			if kind == "" {
				kind = "no format named"
			}
			row("backing file", "%q, %s", q.Backing, kind)
		}
		if q.Snapshots > 0 {
			row("snapshots", "%d, not used here", q.Snapshots)
		}
	}
	if i.InUse {
		row("in use", "by another process")
	}
	if i.Unusable != "" {
		row("not usable", "%s", i.Unusable)
	}
	return lines.Flush()
}

type diskCheck struct {
	Path            string   `arg:"" type:"path" help:"An image."`
	Format          diskKind `default:"auto" placeholder:"FORMAT" help:"What it is: raw, qcow2, or auto: by its name and first bytes, if they agree."`
	BlockSize       uint32   `default:"512" enum:"512,4096" help:"Smallest unit of access of the disk that the image is for."`
	BackingAnywhere bool     `help:"Follow a backing file outside the image's directory. Only for images that you trust."`
	JSON            bool     `name:"json" help:"Print JSON."`
}

// checked is a report as JSON.
type checked struct {
	Path     string   `json:"path"`
	Format   string   `json:"format"`
	Size     int64    `json:"size"`
	Sound    bool     `json:"sound"`
	Problems []string `json:"problems"`
	More     int      `json:"more_problems"`
	Leaked   int64    `json:"leaked"`
	Notes    []string `json:"notes"`
}

func (c *diskCheck) Run(ctx context.Context, env Env) error {
	r, err := format.Check(ctx, c.Path, format.CheckOptions{
		Options:   format.Options{Kind: c.Format.Kind, BackingAnywhere: c.BackingAnywhere},
		BlockSize: c.BlockSize,
	})
	if err != nil {
		return err
	}
	sound := len(r.Problems) == 0
	if c.JSON {
		err = printJSON(env.Stdout, checked{
			Path: c.Path, Format: r.Kind.String(), Size: r.Size, Sound: sound,
			Problems: append([]string{}, r.Problems...), More: r.More, Leaked: r.Leaked, Notes: append([]string{}, r.Notes...),
		})
	} else {
		err = printReport(env.Stdout, c.Path, r)
	}
	if err == nil && !sound {
		return fmt.Errorf("%s is not sound: %d problems", c.Path, len(r.Problems)+r.More)
	}
	return err
}

func printReport(w io.Writer, path string, r *format.Report) error {
	lines := bufio.NewWriter(w)
	for _, p := range r.Problems {
		fmt.Fprintf(lines, "problem: %s\n", p)
	}
	if r.More > 0 {
		fmt.Fprintf(lines, "problem: and %d more\n", r.More)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(lines, "note: %s\n", n)
	}
	if r.Leaked > 0 {
		fmt.Fprintf(lines, "note: %s of the file are used by nothing, which only costs space; a conversion leaves them behind\n", bytesOf(r.Leaked))
	}
	if len(r.Problems) == 0 {
		fmt.Fprintf(lines, "%s: %s, %s, sound\n", path, r.Kind, bytesOf(r.Size))
	}
	return lines.Flush()
}

type diskConvert struct {
	From            diskKind `default:"auto" placeholder:"FORMAT" help:"What SRC is: raw, qcow2, or auto: by its name and first bytes, if they agree."`
	To              diskKind `default:"auto" placeholder:"FORMAT" help:"What to make: raw, qcow2, or auto: by the name of DST, else raw."`
	Compress        string   `default:"none" enum:"none,zlib,zstd" help:"Compress the clusters of a qcow2 image: none, zlib or zstd."`
	BackingAnywhere bool     `help:"Follow a backing file outside the image's directory. Only for images that you trust."`
	Src             string   `arg:"" type:"path" help:"The image to copy. Nothing may be using it."`
	Dst             string   `arg:"" type:"path" help:"The image to make. A file of that name is left alone."`
}

func (c *diskConvert) Run(ctx context.Context, env Env) error {
	how, err := format.ParseCompression(c.Compress)
	if err != nil {
		return err
	}
	r, err := format.Convert(ctx, c.Src, c.Dst, format.ConvertOptions{
		From:        format.Options{Kind: c.From.Kind, BackingAnywhere: c.BackingAnywhere},
		To:          c.To.Kind,
		Compression: how,
		Progress:    copied(env),
	})
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("interrupted; %s was not made", c.Dst)
	}
	if err != nil {
		return err
	}
	warn(env, r.Warnings)
	fmt.Fprintf(env.Stdout, "%s: %s from %s, %s, of which %s take space\n", c.Dst, r.To, r.From, bytesOf(r.Size), bytesOf(r.Allocated))
	return nil
}

// copied shows how far a conversion is, on a terminal.
func copied(env Env) func(done, total int64) {
	f, ok := env.Stderr.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	var bar *progressbar.ProgressBar
	return func(done, total int64) {
		if bar == nil {
			bar = progressbar.NewOptions64(total,
				progressbar.OptionSetWriter(f),
				progressbar.OptionShowBytes(true),
				progressbar.OptionSetWidth(30),
				progressbar.OptionThrottle(100*time.Millisecond),
				progressbar.OptionClearOnFinish(),
			)
		}
		_ = bar.Set64(done)
	}
}

func warn(env Env, warnings []string) {
	for _, w := range warnings {
		fmt.Fprintf(env.Stderr, "lockstep: warning: %s\n", w)
	}
}

// bytesOf is a number of bytes for people, and in full where that says more.
func bytesOf(n int64) string {
	if human := format.Human(n); n >= 1024 {
		return fmt.Sprintf("%s (%d bytes)", human, n)
	}
	return format.Human(n)
}
