package image

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Build fetches and builds an image, replacing one of the same name. Only one
// build at a time works in a cache directory; another waits for it.
func Build(ctx context.Context, o Options) (*Image, error) { return build(ctx, o, false) }

// build is Build, or with reuse only if the image is still not there when the
// cache directory is ours.
func build(ctx context.Context, o Options, reuse bool) (*Image, error) {
	b, err := newBuilder(o)
	if err != nil {
		return nil, err
	}
	dir, err := imageDir(b.options.CacheDir, b.options.Name)
	if err != nil {
		return nil, err
	}
	recipe, err := recipeFor(b.options.Name)
	if err != nil {
		return nil, err
	}
	for _, d := range []string{filepath.Dir(dir), b.debs} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("image: %w; choose another cache directory (XDG_CACHE_HOME)", err)
		}
	}
	unlock, err := b.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if reuse {
		if img, err := Load(b.options.CacheDir, b.options.Name); !errors.Is(err, ErrNotBuilt) {
			return img, err
		}
	}
	if err := b.run(ctx, recipe, dir); err != nil {
		return nil, b.explain(err)
	}
	// What was fetched has served its purpose; an image needs no network.
	if err := os.RemoveAll(b.debs); err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	b.report(StageDone, b.options.Name, 1, 1)
	return Load(b.options.CacheDir, b.options.Name)
}

// A builder is one build at work.
type builder struct {
	options Options
	debs    string // directory of packages while the build needs them
	fetch   *fetcher

	downloaded, toDownload int64 // bytes of packages
}

func newBuilder(o Options) (*builder, error) {
	o.Name = cmp.Or(o.Name, Demo)
	o.AptDir = cmp.Or(o.AptDir, "/etc/apt")
	o.IndexSHA256 = cmp.Or(o.IndexSHA256, os.Getenv(IndexVariable), knownIndex)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.CacheDir == "" {
		dir, err := DefaultCacheDir()
		if err != nil {
			return nil, err
		}
		o.CacheDir = dir
	}
	if o.Client == nil {
		o.Client = newClient(readAptConfig(o.AptDir))
	}
	return &builder{
		options: o,
		debs:    filepath.Join(o.CacheDir, "debs"),
		fetch:   &fetcher{client: o.Client, pause: cmp.Or(o.RetryPause, 500*time.Millisecond)},
	}, nil
}

func (b *builder) report(s Stage, note string, done, total int64) {
	if b.options.Progress != nil {
		b.options.Progress(Event{Stage: s, Note: note, Done: done, Total: total})
	}
}

// lock waits until no other build works in the cache directory.
func (b *builder) lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(b.options.CacheDir, "build.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	for {
		ours, err := tryLock(f)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("image: lock %s: %w", f.Name(), err)
		}
		if ours {
			return func() { f.Close() }, nil
		}
		b.report(StageMirror, "another process is building an image", 0, 0)
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// run makes the guest of a recipe.
func (b *builder) run(ctx context.Context, r recipe, dir string) error {
	a, err := b.findArchive(ctx)
	if err != nil {
		return err
	}
	kernelPackage, err := a.index.kernel()
	if err != nil {
		return err
	}
	s := &supply{b: b, archive: a, tree: mergedTree(), files: map[*debPackage][]string{}}
	g := &guest{}
	// The kernel, by far the largest, comes last: until then the libraries
	// that programs need become known, and with them the sum.
	b.toDownload = kernelPackage.file.size
	if err := s.userland(ctx, g, r); err != nil {
		return err
	}

	file, err := b.download(ctx, a, kernelPackage)
	if err != nil {
		return err
	}
	s.used = append(s.used, kernelPackage)
	k, err := readKernel(file, r.modules, func(done int64) {
		b.report(StageUnpack, kernelPackage.name, done, kernelPackage.file.size)
	})
	if err != nil {
		return fmt.Errorf("image: package %s: %w", kernelPackage.name, err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	g.addModules(k, r.modules)
	b.report(StageAssemble, b.options.Name, 0, 1)
	var initrd bytes.Buffer
	if err := g.Write(&initrd); err != nil {
		return err
	}
	m := &manifest{
		Name: b.options.Name, Release: a.release.version, KernelVersion: k.version,
		Cmdline: cmdline, Packages: s.packages(), IndexSHA256: a.pinned,
	}
	if a.pinned != "" {
		m.Release = "" // the release that is signed is another
	}
	if err := store(dir, m, k.image, initrd.Bytes()); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	b.report(StageAssemble, b.options.Name, 1, 1)
	return nil
}

// explain adds what to do to errors of the machine's.
func (b *builder) explain(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w; a build needs about 300 MB below %s, an image about 60 MB: make room or set XDG_CACHE_HOME", err, b.options.CacheDir)
	}
	return err
}
